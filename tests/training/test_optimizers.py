"""Optimizers: groups, clipping, state, what the reference does wrong. The updates are in the golden tests."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.training.optimizers import Optimizers, build_optimizer, optimizers

NAMES = ["SGD", "Momentum", "Adam", "AdamW", "RMSProp", "AdamWDL"]


class RecModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.neck = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2, bias=False)

    def layer_groups(self) -> list[list[str]]:
        names = [name for name, _ in self.named_parameters()]
        parts = ("backbone.0", "backbone.1", "neck", "head")
        return [[name for name in names if name.startswith(part)] for part in parts]


class CenterLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.ones(2, 4))


class Losses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.terms = nn.ModuleList([CenterLoss()])


def build(section: Any, model: nn.Module, loss: nn.Module | None = None, **context: Any) -> Optimizers:
    return build_optimizer(section, model, loss, **{"epochs": 4, "steps_per_epoch": 5, **context})


def section(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "lr": {"name": "Cosine", "learning_rate": 0.1}, **arguments}


def give_gradients(model: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def fresh(seed: int = 1) -> RecModel:
    torch.manual_seed(seed)
    return RecModel()


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def advance(model: nn.Module, optimizer: Optimizers, count: int, start: int = 0) -> None:
    for step in range(start, start + count):
        give_gradients(model, step)
        optimizer.step()
        optimizer.zero_grad()
        optimizer.schedule_step()


def groups_by_name(optimizer: Optimizers) -> dict[str, dict[str, Any]]:
    return {name: group for group in optimizer.parameter_groups for name in group["names"]}


def test_every_optimizer_is_here() -> None:
    assert {entry.name for entry in optimizers} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_state_round_trip(name: str) -> None:
    """A run that is cut in two by a saved file gives the same weights as one that is not."""
    whole, half, resumed = fresh(), fresh(), fresh()
    settings = section(name, weight_decay=0.01) | (
        {"momentum": 0.9} if name in ("Momentum", "RMSProp") else {}
    )
    advance(whole, build(settings, whole), 6)
    optimizer = build(settings, half)
    advance(half, optimizer, 3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed.load_state_dict(half.state_dict())
    second = build(settings, resumed)
    second.load_state_dict(state)
    assert second.learning_rate == optimizer.learning_rate
    advance(resumed, second, 3, start=3)
    for key, value in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[key], value, rtol=0, atol=0)


def test_state_follows_names_not_groups() -> None:
    model = fresh()
    optimizer = build(section("Momentum", momentum=0.9), model)
    advance(model, optimizer, 2)
    regrouped = fresh()
    regrouped.load_state_dict(model.state_dict())
    regrouped.neck.weight.lr_multiplier = 1.0 + 1e-12  # type: ignore[assignment]
    second = build(section("Momentum", momentum=0.9), regrouped)
    second.load_state_dict(optimizer.state_dict())
    assert len(second.parameter_groups) == 2
    advance(model, optimizer, 1)
    advance(regrouped, second, 1)
    for key, value in weights(model).items():
        torch.testing.assert_close(weights(regrouped)[key], value)


def test_state_of_something_else() -> None:
    model = fresh()
    optimizer = build(section("Momentum"), model)
    advance(model, optimizer, 1)
    state = optimizer.state_dict()
    with pytest.raises(UserError, match="was written with Momentum, the recipe has Adam: resume"):
        build(section("Adam"), model).load_state_dict(state)
    with pytest.raises(UserError, match=r"for the parameter 'neck\.weight', which the model does not have"):
        build(section("Momentum"), nn.Sequential(nn.Linear(2, 2))).load_state_dict(
            {**state, "optimizers": [{"name": "Momentum", "state": {"neck.weight": {}}}]}
        )
    model.neck = nn.Linear(4, 5)
    with pytest.raises(UserError, match=r"'neck\.weight', which has another shape here"):
        build(section("Momentum"), model).load_state_dict(state)


@pytest.mark.parametrize("name", NAMES)
def test_layout_of_weights_and_gradients_does_not_matter(name: str) -> None:
    plain, other = fresh(), fresh()
    other.to(memory_format=torch.channels_last)
    settings = section(name, weight_decay=0.1)
    first, second = build(settings, plain), build(settings, other)
    advance(plain, first, 2)
    advance(other, second, 2)
    second.load_state_dict(first.state_dict())
    advance(plain, first, 1, start=2)
    advance(other, second, 1, start=2)
    for key, value in weights(plain).items():
        torch.testing.assert_close(weights(other)[key], value)


def test_lr_multiplier_and_own_regularizer() -> None:
    model = fresh()
    model.neck.bias.lr_multiplier = 0.5  # type: ignore[assignment]
    model.backbone[1].weight.regularizer = ("L2", 0.0)  # type: ignore[union-attr, assignment]
    model.head.weight.regularizer = ("L1", 0.3)  # type: ignore[assignment]
    before = weights(model)
    optimizer = build(section("SGD", regularizer={"name": "L2", "coeff": 0.2}), model)
    give_gradients(model)
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}  # type: ignore[union-attr]
    optimizer.step()
    decay = {name: 0.2 * value for name, value in before.items()}
    decay["backbone.1.weight"] = torch.zeros(4)
    decay["head.weight"] = 0.3 * before["head.weight"].sign()
    for name, value in weights(model).items():
        rate = 0.05 if name == "neck.bias" else 0.1
        torch.testing.assert_close(value, before[name] - rate * (gradients[name] + decay[name]), msg=name)


@pytest.mark.parametrize(("name", "reference"), [("AdamW", False), ("AdamW", True)])
def test_own_regularizer_of_adamw(name: str, reference: bool) -> None:
    model = fresh()
    model.backbone[1].weight.regularizer = ("L2", 0.0)  # type: ignore[union-attr, assignment]
    group = groups_by_name(build(section(name, weight_decay=0.3), model, reference_behaviour=reference))
    assert group["backbone.1.weight"]["weight_decay"] == (0.3 if reference else 0.0)
    assert group["neck.weight"]["weight_decay"] == 0.3


def test_names_without_decay() -> None:
    settings = section("Momentum", weight_decay=0.1, no_weight_decay_name="neck .bias")
    decays = {name: group["weight_decay"] for name, group in groups_by_name(build(settings, fresh())).items()}
    assert decays == {"backbone.0.weight": 0.1, "backbone.1.weight": 0.1, "backbone.1.bias": 0,
                      "neck.weight": 0, "neck.bias": 0, "head.weight": 0.1}  # fmt: skip
    reference = groups_by_name(build(settings, fresh(), reference_behaviour=True))
    assert {group["weight_decay"] for group in reference.values()} == {0.0}
    settings = section("Momentum", weight_decay=0.1, one_dim_param_no_weight_decay=True)
    exempt = {
        name for name, group in groups_by_name(build(settings, fresh())).items() if not group["weight_decay"]
    }
    assert exempt == {"backbone.1.weight", "backbone.1.bias", "neck.bias"}


def test_clipping_each_tensor_and_all_together() -> None:
    def updates(**clipping: float) -> dict[str, Tensor]:
        model = fresh()
        before = weights(model)
        optimizer = build(section("SGD", **clipping), model)
        give_gradients(model)
        model.head.weight.grad.mul_(1e-3)  # type: ignore[union-attr]
        optimizer.step()
        return {name: (before[name] - value) / 0.1 for name, value in weights(model).items()}

    plain, each, together = updates(), updates(clip_norm=0.5), updates(clip_grad_norm=0.5)
    for name, gradient in plain.items():
        norm = gradient.norm()
        torch.testing.assert_close(
            each[name], gradient * (0.5 / norm if norm > 0.5 else 1.0), atol=1e-5, rtol=1e-4
        )
    total = torch.stack([gradient.norm() for gradient in plain.values()]).norm()
    for name, gradient in plain.items():
        torch.testing.assert_close(together[name], gradient * 0.5 / total, atol=1e-5, rtol=1e-4)


def test_layer_decay_and_backbone_multiplier() -> None:
    group = groups_by_name(build(section("AdamW", layer_decay=0.5, backbone_lr_multiplier=0.1), fresh()))
    names = ("backbone.0.weight", "backbone.1.bias", "neck.bias", "head.weight")
    assert [group[name]["lr_multiplier"] for name in names] == pytest.approx([0.0125, 0.025, 0.5, 1.0])
    assert group["neck.bias"]["lr"] == pytest.approx(0.05)
    with pytest.raises(UserError, match="Linear does not tell the order of its layers"):
        build(section("AdamW", layer_decay=0.5), nn.Linear(2, 2))
    with pytest.raises(UserError, match="none of the parameters belongs to a backbone"):
        build(section("AdamW", backbone_lr_multiplier=0.5), nn.Linear(2, 2))


def test_adamwdl_needs_blocks_and_decays_once() -> None:
    with pytest.raises(UserError, match=r"RecModel has no layers called 'blocks\.0'"):
        build(section("AdamWDL", layerwise_decay=0.5), fresh())

    class Blocks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch_embed = nn.Linear(2, 2)
            self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
            self.fc = nn.Linear(2, 2)

    group = groups_by_name(build(section("AdamWDL", layerwise_decay=0.5, weight_decay=0.1), Blocks()))
    names = ("patch_embed.weight", "blocks.0.weight", "blocks.1.weight", "fc.weight")
    assert [group[name]["lr_multiplier"] for name in names] == [0.125, 0.25, 0.5, 1.0]
    assert {group[name]["weight_decay"] for name in names} == {0.1}
    assert group["fc.bias"]["weight_decay"] == 0
    assert all(entry["early_decay"] == 0 for entry in group.values())


def test_scopes() -> None:
    model, loss = fresh(), Losses()
    optimizer = build(
        [
            {"Adam": {"scope": "RecModel", "lr": 0.1}},
            {"SGD": {"scope": "CenterLoss", "lr": {"name": "ConstLR", "learning_rate": 1000.0}}},
        ],
        model,
        loss,
    )
    assert optimizer.learning_rate == [0.1, 1000.0]
    assert set(groups_by_name(optimizer)) == {*weights(model), "loss.terms.0.centers"}
    some = build([{"SGD": {"scope": r"backbone\.\d", "lr": 1}}, {"SGD": {"scope": "head", "lr": 2}}], model)
    assert set(groups_by_name(some)) == {
        "backbone.0.weight",
        "backbone.1.weight",
        "backbone.1.bias",
        "head.weight",
    }
    with pytest.raises(
        UserError, match=r"Optimizer\[1\].SGD.scope: 'hed' matches nothing to train, did you mean 'head'"
    ):
        build([{"SGD": {"scope": "head", "lr": 1}}, {"SGD": {"scope": "hed", "lr": 1}}], model)
    with pytest.raises(UserError, match="is no regular expression"):
        build(section("SGD", scope="("), model)


def test_parameters_of_losses_are_trained() -> None:
    model, loss = fresh(), Losses()
    optimizer = build(section("SGD"), model, loss)
    loss.terms[0].centers.grad = torch.ones(2, 4)  # type: ignore[union-attr]
    optimizer.step()
    torch.testing.assert_close(loss.terms[0].centers.detach(), torch.full((2, 4), 0.9))  # type: ignore[union-attr]


def test_without_gradient_nothing_moves() -> None:
    model = fresh()
    model.head.weight.requires_grad_(False)
    before = weights(model)
    optimizer = build(
        section(
            "Momentum",
            weight_decay=0.5,
            clip_norm=1.0,
            grad_clip=None,
            regularizer={"name": "L1", "coeff": 1},
        ),
        model,
    )
    assert "head.weight" not in groups_by_name(optimizer)
    optimizer.step()
    for name, value in weights(model).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_schedules_by_update_by_epoch_and_by_metric() -> None:
    parts = [
        {"SGD": {"scope": "backbone", "lr": {"name": "Linear", "learning_rate": 1.0}}},
        {"SGD": {"scope": "neck", "lr": {"name": "Linear", "learning_rate": 1.0, "by_epoch": True}}},
        {
            "SGD": {
                "scope": "head",
                "lr": {"name": "ReduceOnPlateau", "learning_rate": 1.0, "by_epoch": True, "patience": 0},
            }
        },
    ]
    optimizer = build(parts, fresh())
    for _ in range(5):
        optimizer.schedule_step()
    assert optimizer.learning_rate == pytest.approx([0.75, 1.0, 1.0])
    optimizer.epoch_end(0.5)
    assert optimizer.learning_rate == pytest.approx([0.75, 0.75, 1.0])
    optimizer.epoch_end(None)
    assert optimizer.learning_rate == pytest.approx([0.75, 0.5, 1.0])
    optimizer.epoch_end(0.5)
    assert optimizer.learning_rate == pytest.approx([0.75, 0.25, 0.1])
    again = build(parts, fresh())
    again.load_state_dict(optimizer.state_dict())
    assert again.learning_rate == optimizer.learning_rate


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_loss_scaling(device: str) -> None:
    """Scaled gradients are unscaled before the clipping; an update with an infinite gradient is skipped."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    plain, scaled = fresh().to(device), fresh().to(device)
    settings = section("Momentum", clip_norm=0.1, weight_decay=0.1)
    first, second = build(settings, plain), build(settings, scaled)
    scaler = torch.amp.GradScaler(device, init_scale=64.0, growth_interval=1000)
    inputs = torch.randn(2, 4, device=device)
    plain.head(plain.neck(inputs)).square().sum().backward()
    first.step()
    scaler.scale(scaled.head(scaled.neck(inputs)).square().sum()).backward()
    second.step(scaler)
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(scaled)[name], value)
    before = weights(scaled)
    scaled.neck.weight.grad.fill_(torch.inf)  # type: ignore[union-attr]
    second.step(scaler)
    assert scaler.get_scale() == 32.0
    for name, value in weights(scaled).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_first_update_that_overflows_leaves_no_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss scales begin high, so that gradients of the first updates overflow in float16."""
    plain, scaled = fresh(), fresh()
    expected, found = build(section(name), plain), build(section(name), scaled)
    empty_like = torch.empty_like
    # memory that is not filled holds anything
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: empty_like(*a, **k).fill_(torch.nan))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    give_gradients(scaled)
    for parameter in scaled.parameters():
        assert parameter.grad is not None
        parameter.grad.fill_(torch.inf)
    scaler.scale(torch.ones(()))
    found.step(scaler)
    assert scaler.get_scale() == 1.0
    for seed in range(2):
        for model in (plain, scaled):
            give_gradients(model, seed)
        expected.step()
        scaler.scale(torch.ones(()))
        found.step(scaler)
    for parameter, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert torch.equal(parameter, other)


def test_disabled_scaler() -> None:
    model = fresh()
    before = weights(model)
    optimizer = build(section("SGD"), model)
    give_gradients(model)
    optimizer.step(torch.amp.GradScaler("cpu", enabled=False))
    assert not torch.equal(weights(model)["head.weight"], before["head.weight"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "Optimizer: no optimizer is given"),
        ({"name": "Momentom", "lr": 1}, "unknown optimizer 'Momentom', did you mean 'Momentum'"),
        (
            {"name": "Momentum", "lr": 1, "momentm": 1},
            "Optimizer: unknown argument 'momentm', did you mean 'momentum'",
        ),
        ({"name": "Momentum"}, "no learning rate is given"),
        ({"name": "Adam", "lr": 1, "regularizer": {"name": "L3", "coeff": 1}}, "unknown regularizer 'L3'"),
        (
            {"name": "Adam", "lr": 1, "regularizer": {"name": "L2", "coef": 1}},
            "Optimizer.regularizer: unknown argument 'coef'",
        ),
        ({"name": "AdamW", "lr": 1, "regularizer": {"name": "L2", "coeff": 1}}, "takes no regularizer"),
        ({"name": "SGD", "lr": 1, "clip_norm": 0}, "clip_norm must be above 0"),
        ({"name": "SGD", "lr": 1, "grad_clip": 2.0}, "grad_clip is an object .*, got 2.0: write clip_norm"),
    ],
)
def test_errors(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(given, fresh())


def test_keys_of_the_reference_are_accepted() -> None:
    build(
        section(
            "Momentum", momentum=0.9, multi_precision=True, regularizer={"name": "L2", "coeff": "1/100000"}
        ),
        fresh(),
    )
