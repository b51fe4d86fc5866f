"""Heads and necks beside the golden numbers: zero vectors, half precision, no labels, settings."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lookalike.core.component import Place, Section
from lookalike.core.errors import UserError
from lookalike.model import build_head, build_neck, heads
from lookalike.model.attributes import fans, initializers, parse_attribute
from lookalike.model.batch_norm import use_biased_running_variance

ARGUMENTS = {
    "FC": {},
    "ArcMargin": {"margin": 0.3, "scale": 16},
    "CosMargin": {"margin": 0.2, "scale": 16},
    "CircleMargin": {"margin": 0.25, "scale": 16},
    "AdaMargin": {"m": 0.2, "s": 16},
}


def head(name: str, **more: object) -> nn.Module:
    return build_head({"name": name, "embedding_size": 6, "class_num": 4, **ARGUMENTS[name], **more})


def class_weights(module: nn.Module) -> torch.Tensor:
    """One row a class, whatever the head calls it."""
    (weights,) = (parameter for name, parameter in module.named_parameters() if name in ("weight", "kernel"))
    return weights


def test_these_are_all_heads() -> None:
    assert {entry.name for entry in heads} == {*ARGUMENTS, "IdentityHead"}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_zero_vectors_are_safe(name: str) -> None:
    module = head(name).train()
    if name != "FC":
        with torch.no_grad():
            class_weights(module)[0].zero_()
    features = torch.randn(3, 6)
    features[1] = 0.0
    features.requires_grad_()
    logits = module(features, torch.tensor([0, 1, 2]))
    F.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    assert torch.isfinite(logits).all()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().max() < 1e3


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if name != "FC"])
def test_without_labels_or_at_eval_it_is_the_cosine(name: str) -> None:
    module = head(name)
    features = torch.randn(5, 6)
    cosine = F.normalize(features) @ F.normalize(class_weights(module)).T
    labels = torch.tensor([0, 1, 2, 3, 0])
    torch.testing.assert_close(module.train()(features), cosine)
    torch.testing.assert_close(module.eval()(features, labels), cosine)
    column, flat = module.train()(features, labels[:, None]), module(features, labels)
    assert torch.equal(column, flat)
    others = F.one_hot(labels, 4) == 0
    assert (
        flat.gather(1, labels[:, None]).squeeze(1) < 16 * cosine.gather(1, labels[:, None]).squeeze(1)
    ).all()
    if name != "CircleMargin":
        torch.testing.assert_close(flat[others], 16 * cosine[others])


@pytest.mark.parametrize("name", ["ArcMargin", "CosMargin", "CircleMargin"])
def test_scores_of_the_first_numbers(name: str) -> None:
    """Those of a head that has the first columns of the weight only, in training and at evaluation."""
    whole, small = head(name, sizes=[2, 6]), head(name, embedding_size=2)
    class_weights(small).data.copy_(class_weights(whole)[:, :2])
    features, labels = torch.randn(5, 6), torch.tensor([0, 1, 2, 3, 0])
    for training in (True, False):
        whole.train(training), small.train(training)
        torch.testing.assert_close(whole.of_first(2, features, labels), small(features[:, :2], labels))  # type: ignore[operator]
        assert torch.equal(whole.of_first(6, features, labels), whole(features, labels))  # type: ignore[operator]
    with pytest.raises(UserError, match=rf"{name}\.sizes: 7 is more than embedding_size 6"):
        head(name, sizes=[2, 7])


def test_the_margins_of_ada_margin_in_a_loop() -> None:
    """A batch enters the running figures before they are used."""
    m, h, s, share = 0.4, 0.333, 64.0, 0.3
    module = build_head({"AdaMargin": {"embedding_size": 6, "class_num": 4, "t_alpha": share}}).train()
    mean, std = 20.0, 100.0
    for labels in ([0, 1, 2, 3, 0], [3, 3, 1, 1, 2]):
        features = (
            torch.randn(5, 6, dtype=torch.float64) * torch.tensor([0.1, 1.0, 10.0, 30.0, 90.0])[:, None]
        )
        logits = module(features.float(), torch.tensor(labels))
        lengths = [min(max(float(row.norm()), 0.001), 100.0) for row in features]
        average = sum(lengths) / 5
        deviation = math.sqrt(sum((length - average) ** 2 for length in lengths) / 4)
        mean, std = share * average + (1 - share) * mean, share * deviation + (1 - share) * std
        for row, label, length, found in zip(features, labels, lengths, logits, strict=True):
            z = min(max(h * (length - mean) / (std + 1e-3), -1.0), 1.0)
            for index, weight in enumerate(class_weights(module).detach().double()):
                cosine = float(row @ weight / row.norm() / weight.norm())
                expected = cosine
                if index == label:
                    angle = math.acos(cosine) - m * z
                    expected = math.cos(min(max(angle, 1e-3), math.pi - 1e-3)) - (m + m * z)
                assert found[index].item() == pytest.approx(s * expected, abs=1e-3)
    assert module.batch_mean.item() == pytest.approx(mean, rel=1e-5)  # type: ignore[operator]
    assert module.batch_std.item() == pytest.approx(std, rel=1e-5)  # type: ignore[operator]


def test_the_figures_of_ada_margin_move_in_training_only() -> None:
    arguments = {"embedding_size": 6, "class_num": 4, "t_alpha": 0.5}
    ours = build_head({"AdaMargin": arguments})
    theirs = build_head({"AdaMargin": arguments}, reference_behaviour=True)
    features, labels = torch.randn(3, 6), torch.tensor([0, 1, 2])
    for module, moves in ((ours, False), (theirs, True)):
        before = module.batch_mean.clone()  # type: ignore[operator]
        module.eval()(features, labels)
        assert (not torch.equal(module.batch_mean, before)) is moves  # type: ignore[arg-type]
    before = ours.batch_std.clone()  # type: ignore[operator]
    alone = ours.train()(features[:1], labels[:1])
    assert torch.equal(ours.batch_std, before)  # type: ignore[arg-type]
    assert torch.isfinite(alone).all()
    state = ours.state_dict()
    assert {"kernel", "batch_mean", "batch_std"} <= set(state)


def test_frfn_neck_in_a_loop() -> None:
    neck = build_neck({"FRFNNeck": {"num_features": 6, "low_dim": 3}})
    first, second = neck.requires_grad_(False).fc1, neck.fc2
    for row in torch.randn(4, 6):
        hidden = [
            sum(float(w) * float(x) for w, x in zip(weights, row, strict=True)) + float(bias)
            for weights, bias in zip(first.weight, first.bias, strict=True)  # type: ignore[union-attr,arg-type]
        ]
        bent = torch.tensor([value if value > 0 else 0.1 * value for value in hidden])
        plain = second.weight @ bent + second.bias  # type: ignore[union-attr,operator]
        torch.testing.assert_close(neck(row[None])[0], plain / plain.norm())
    with torch.no_grad():
        for parameter in neck.parameters():
            parameter.zero_()
    assert torch.equal(neck(torch.randn(1, 6)), torch.zeros(1, 3))


def test_arc_margin_is_an_angle_and_falls_back_past_pi() -> None:
    module = build_head(
        {"ArcMargin": {"embedding_size": 2, "class_num": 1, "margin": 0.5, "scale": 1}}
    ).train()
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 0.0]]))  # type: ignore[operator]
    for angle in (0.3, 1.5, 2.5, 3.0):
        logit = module(torch.tensor([[math.cos(angle), math.sin(angle)]]), torch.tensor([0])).item()
        inside = angle + 0.5 < math.pi
        expected = math.cos(angle + 0.5) if inside else math.cos(angle) - 0.5 * math.sin(0.5)
        assert logit == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_half_precision_stays_finite(name: str) -> None:
    module = head(name).train()
    features = torch.randn(3, 6) if name == "FC" else class_weights(module).detach()[:3] * 50
    features = features.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = module(features, torch.tensor([0, 1, 2]))
    logits.float().sum().backward()
    assert torch.isfinite(logits).all()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_vehicle_neck_honours_its_bias_setting_unless_told_to_be_the_reference() -> None:
    block = {"name": "VehicleNeck", "in_channels": 4, "out_channels": 3, "bias_attr": False}
    assert build_neck(block).conv.bias is None  # type: ignore[union-attr]
    reference = build_neck(block, reference_behaviour=True)
    assert reference.conv.bias is not None  # type: ignore[union-attr]
    maps = torch.randn(2, 4, 1, 1)
    assert torch.equal(reference(maps), reference(maps.flatten(1)))


def test_bnneck_keeps_the_running_statistics_where_it_should() -> None:
    neck = build_neck({"name": "BNNeck", "num_features": 3, "use_global_stats": True}).train()
    features = torch.randn(4, 3)
    before = {key: value.clone() for key, value in neck.state_dict().items()}
    torch.testing.assert_close(neck(features), features / math.sqrt(1 + 1e-5))
    assert all(torch.equal(value, before[key]) for key, value in neck.state_dict().items())


def test_settings_of_parameters() -> None:
    neck = build_neck(
        {
            "name": "BNNeck",
            "num_features": 3,
            "weight_attr": {
                "initializer": {"name": "Constant", "value": 2.0},
                "regularizer": {"name": "L2Decay", "coeff": 0.0},
            },
            "bias_attr": {"initializer": {"name": "Constant", "value": "1.0/2.0"}, "learning_rate": 1.0e-20},
        }
    )
    norm = neck.feat_bn
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.weight.tolist() == [2.0] * 3
    assert norm.bias.tolist() == [0.5] * 3
    assert norm.weight.regularizer == ("L2", 0.0)  # type: ignore[attr-defined,comparison-overlap]
    assert norm.bias.lr_multiplier == 1e-20  # type: ignore[attr-defined,comparison-overlap]
    assert not hasattr(norm.bias, "regularizer")
    fixed = build_neck({"name": "BNNeck", "num_features": 3, "bias_attr": False})
    assert not fixed.feat_bn.bias.requires_grad  # type: ignore[union-attr]
    assert head("FC", bias_attr=False).fc.bias is None  # type: ignore[union-attr]


def test_starting_values() -> None:
    torch.manual_seed(0)
    weight = torch.empty(400, 300)
    assert fans(weight) == (300, 400)
    assert fans(torch.empty(8, 4, 3, 3)) == (36, 72)
    assert fans(torch.empty(5)) == (5, 5)
    spread = {
        "Normal": ({"std": 0.3}, 0.3),
        "KaimingNormal": ({}, math.sqrt(2 / 300)),
        "XavierNormal": ({}, math.sqrt(2 / 700)),
        "XavierUniform": ({}, math.sqrt(2 / 700)),
        "KaimingUniform": ({"fan_in": 12288}, math.sqrt(2 / 12288)),
        "Uniform": ({"low": -3, "high": 3}, math.sqrt(3)),
        "TruncatedNormal": ({"std": 0.1}, 0.1 * 0.8796),
    }
    for name, (arguments, expected) in spread.items():
        initializers.build({"name": name, **arguments})(weight)
        assert weight.std().item() == pytest.approx(expected, rel=0.02), name
    bound = torch.empty(50_000)
    initializers.build({"name": "KaimingUniform", "fan_in": 12288})(bound)
    assert bound.abs().max().item() == pytest.approx(1 / math.sqrt(2048), rel=0.01)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"initialiser": {}}, "unknown key 'initialiser', did you mean 'initializer'"),
        ({"initializer": {"name": "Norml"}}, "did you mean 'Normal'"),
        ({"initializer": {"name": "Normal", "sdt": 1}}, "unknown argument 'sdt'"),
        ({"regularizer": {"name": "L3Decay"}}, "must be {name: L2Decay, coeff: 0.0}"),
        ({"learning_rate": "fast"}, "learning_rate: must be a number, got 'fast'"),
        ("Normal", "must be a mapping or false"),
    ],
)
def test_mistakes_in_settings(value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_attribute(value, "Arch.Neck.weight_attr")  # type: ignore[arg-type]


def test_a_mistake_in_settings_names_the_line() -> None:
    block = Section({"name": "FC", "embedding_size": 4, "class_num": 3}, Place("Arch.Neck", "r.yaml", 7))
    block["weight_attr"] = Section({"initialiser": 1}, Place("Arch.Neck.weight_attr", "r.yaml", 9))
    with pytest.raises(UserError, match=r"^r\.yaml:9: Arch\.Neck\.weight_attr: unknown key"):
        build_neck(block)


def test_the_biased_running_variance() -> None:
    torch.manual_seed(0)
    plain, biased = nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(3))
    use_biased_running_variance(biased)
    batches = torch.randn(4, 8, 3) * 2
    expected = torch.ones(3)
    for batch in batches:
        inputs = [batch.clone().requires_grad_() for _ in range(2)]
        for module, features in zip((plain, biased), inputs, strict=True):
            module(features).square().sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
        expected = 0.9 * expected + 0.1 * batch.var(0, unbiased=False)
    torch.testing.assert_close(biased[0].running_var, expected)
    torch.testing.assert_close(biased[0].running_mean, plain.running_mean)
    assert torch.equal(biased.eval()(batches[0]), biased(batches[0]))
