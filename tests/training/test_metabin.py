"""Meta-learning over domains: what its three passes move, and that an interrupted run goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lookalike import Recipe, train
from lookalike.core.errors import UserError
from lookalike.model.meta_norm import MetaBIN, gates
from lookalike.model.registries import backbones
from lookalike.training.steps.metabin import halves_by_domain
from lookalike.training.trainer import Trainer
from tests.tiny import recipe_values
from tests.training.runs import differing_tensors, interrupted_train


def tiny_metabin() -> nn.Module:
    def block(channels: int, width: int) -> nn.Sequential:
        parts = {
            "conv": nn.Conv2d(channels, width, 3, 2, bias=False),
            "bn": MetaBIN(width),
            "relu": nn.ReLU(),
        }
        made = nn.Sequential()
        for name, part in parts.items():
            made.add_module(name, part)
        return made

    return nn.Sequential(block(3, 8), block(8, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


@pytest.fixture(autouse=True)
def backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone with gates that is small enough for tests, known while they run."""
    monkeypatch.setattr(backbones, "_entries", dict(backbones._entries))
    monkeypatch.setattr(backbones, "_names", dict(backbones._names))
    backbones.register("TinyMetaBIN")(tiny_metabin)


@pytest.fixture(scope="module")
def cameras(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training list as a table, the pictures of each class dealt out to three cameras."""
    lines = (pictures / "train.txt").read_text(encoding="utf-8").splitlines()
    table = tmp_path_factory.mktemp("cameras") / "train.csv"
    rows = [f"{line.replace(chr(9), ',')},{number % 3}" for number, line in enumerate(lines)]
    table.write_text("\n".join(["path,label,camera", *rows]) + "\n", encoding="utf-8")
    return table


def values(pictures: Path, table: Path, output: Path, **settings: Any) -> dict[str, Any]:
    made = recipe_values(pictures, output, epochs=2)
    made["Global"] |= {
        "train_mode": "metabin", "warmup_iter": 3, "iter_per_epoch": 3, "eval_during_train": False, **settings
    }  # fmt: skip
    made["Arch"] = {
        "name": "RecModel",
        "Backbone": {"name": "TinyMetaBIN"},
        "Neck": {"name": "MetaBNNeck", "num_features": 16},
        "Head": {"name": "FC", "embedding_size": 16, "class_num": 6, "bias_attr": False},
    }
    basic = [
        {"CELossForMetaBIN": {"epsilon": 0.1}},
        {"TripletLossForMetaBIN": {"margin": 0.3, "feature_from": "backbone"}},
    ]
    more = [
        {"IntraDomainScatterLoss": {"feature_from": "backbone"}},
        {"InterDomainShuffleLoss": {"normalize_feature": False, "feature_from": "backbone"}},
    ]
    made["Loss"] = {"Basic": basic, "MetaTrain": basic + more, "MetaTest": basic}
    network = {"scope": ".*(conv|batch_norm|instance_norm|feat_bn|fc)", "lr": 0.01}
    made["Optimizer"] = [
        {"Momentum": network | {"regularizer": {"name": "L2", "coeff": 0.0005}}},
        {"SGD": {"scope": "backbone.*gate", "lr": {"name": "Constant", "learning_rate": 0.2}}},
        {"SGD": {"scope": "RecModel", "lr": {"name": "Constant", "learning_rate": 0.5}}},
    ]
    columns = {"name": "TableDataset", "table": str(table), "camera_column": "camera"}
    block = made["DataLoader"]["Train"]
    block["dataset"] = columns | {
        "image_root": str(pictures / "pictures"),
        "transform_ops": block["dataset"]["transform_ops"],
    }
    sampler = {"batch_size": 12, "num_instances": 2, "drop_last": True}
    block["sampler"] = {"name": "NaiveIdentityBatchSampler", **sampler}
    second = {"name": "DomainShuffleBatchSampler", "camera_to_domain": True, **sampler}
    made["DataLoader"]["Metalearning"] = {"Train": {**block, "sampler": second}}
    return made


def last(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "RecModel/latest/model.safetensors")


@pytest.fixture(scope="module")
def base(pictures: Path, cameras: Path) -> dict[str, Any]:
    return {"pictures": pictures, "table": cameras}


def test_network_and_gates_learn(base: dict[str, Any], tmp_path: Path) -> None:
    recipe = Recipe.from_dict(values(**base, output=tmp_path))
    before = Trainer(recipe, torch.device("cpu"), tmp_path / "RecModel").model.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    result = train(recipe)
    after = last(tmp_path)
    assert result.iterations == 6
    gated = [name for name in after if name.endswith("gate.gate")]
    assert len(gated) == 2
    assert all(float(after[name].min()) >= 0 and float(after[name].max()) <= 1 for name in gated)
    assert any(not torch.equal(before[name], after[name]) for name in gated)
    for name in ("backbone.0.conv.weight", "backbone.1.bn.instance_norm.weight", "head.fc.weight"):
        assert not torch.equal(before[name], after[name])
    # the statistics move in the ordinary passes only: those of the three warm-up batches, then one each
    assert int(after["backbone.0.bn.batch_norm.num_batches_tracked"]) == 8
    log = (tmp_path / "RecModel/train.log").read_text()
    assert "train_CELoss: " in log
    assert "mtrain_InterDomainShuffleLoss: " in log
    assert "mtest_TripletLoss: " in log


@pytest.mark.parametrize("scale", [None, 1024.0])
def test_the_gates_follow_the_loss_after_the_inner_step(
    base: dict[str, Any], tmp_path: Path, scale: float | None
) -> None:
    """Their step is that of plain SGD on the loss of meta-test, with the gates moved by meta-train before; a
    scale of the loss, as float16 needs it, changes nothing.
    """
    given = values(**base, output=tmp_path, warmup_iter=None)
    given["Optimizer"][0]["Momentum"]["lr"] = 1e-12  # so that only gates move
    given["Optimizer"][0]["Momentum"] |= {"regularizer": {"name": "L2", "coeff": 0.0}}
    trainer = Trainer(Recipe.from_dict(given), torch.device("cpu"), tmp_path / "RecModel")
    model, loss = trainer.model, trainer.loss
    if scale is not None:
        trainer.precision.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    model.train()
    with torch.no_grad():
        for gate in gates(model).values():
            gate.fill_(0.5)  # inside the bounds, so that nothing is cut
    batch = next(trainer.step.batches(trainer.progress))
    start = {name: gate.detach().clone() for name, gate in gates(model).items()}

    def gradient(part: dict[str, Any], losses: nn.Module, at: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        own = gates(model)
        with torch.no_grad():
            for name, value in at.items():
                own[name].copy_(value)
        outputs = model(part["image"], part["label"])
        total = losses(outputs, part["label"], {**part, "domain": part["camera"]})["loss"]
        return list(torch.autograd.grad(total, list(own.values())))

    torch.manual_seed(5)
    some, others = halves_by_domain(batch["Metalearning"])
    inner = gradient(some, loss.meta_train, start)
    moved = {name: start[name] - 0.2 * 0.5 * g for name, g in zip(start, inner, strict=True)}
    outer = gradient(others, loss.meta_test, moved)
    expected = {name: start[name] - 0.2 * g for name, g in zip(start, outer, strict=True)}
    with torch.no_grad():
        for name, gate in gates(model).items():
            gate.copy_(start[name])
    torch.manual_seed(5)
    trainer.step.run(batch, True)
    for name, gate in gates(model).items():
        torch.testing.assert_close(gate.detach(), expected[name].clamp(0, 1), rtol=1e-4, atol=1e-6)
        assert not torch.equal(gate, start[name])


@pytest.mark.parametrize("after", [1, 5], ids=["after the warm-up", "second epoch"])
def test_resumed_run_equals_uninterrupted_run(base: dict[str, Any], tmp_path: Path, after: int) -> None:
    whole = train(Recipe.from_dict(values(**base, output=tmp_path / "whole")))
    parts = values(**base, output=tmp_path / "parts")
    assert interrupted_train(Recipe.from_dict(parts), after).interrupted == "SIGINT"
    latest = tmp_path / "parts/RecModel/latest"
    parts["Global"]["checkpoints"] = str(latest)
    resumed = train(Recipe.from_dict(parts))
    assert resumed.iterations == whole.iterations
    assert differing_tensors(tmp_path / "whole/RecModel/latest", latest) == []


def test_halves_hold_whole_domains() -> None:
    batch = {"camera": torch.tensor([4, 4, 7, 7, 9, 9]), "label": torch.arange(6)}
    seen = set()
    for _ in range(20):
        some, others = halves_by_domain(batch)
        assert len(some["camera"].unique()) == 1
        assert len(others["camera"].unique()) == 2
        assert sorted([*some["label"].tolist(), *others["label"].tolist()]) == list(range(6))
        seen.add(int(some["camera"][0]))
    assert seen == {4, 7, 9}
    with pytest.raises(UserError, match="batches of one domain"):
        halves_by_domain({"camera": torch.tensor([1, 1])})


def without(key: str, *path: Any) -> Any:
    def change(made: dict[str, Any]) -> None:
        for step in path:
            made = made[step]
        del made[key]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("MetaTest", "Loss"), "needs Loss.MetaTest"),
        (without("Metalearning", "DataLoader"), "needs DataLoader.Metalearning"),
        (lambda made: made["Optimizer"].pop(), "a list of three optimizers"),
        (lambda made: made["Global"].update(update_freq=2), "update_freq must be 1"),
        (without("camera_column", "DataLoader", "Train", "dataset"), "has none"),
        (lambda made: made["Arch"].update(Backbone={"name": "Conv4", "widths": [8, 8, 8, 16]}), "has none"),
    ],
)
def test_messages(base: dict[str, Any], tmp_path: Path, change: Any, message: str) -> None:
    made = values(**base, output=tmp_path)
    change(made)
    if "Conv4" in str(made["Arch"]):
        made["Optimizer"][1]["SGD"]["scope"] = "head"
        made["Arch"]["Neck"] = {"name": "BNNeck", "num_features": 16}
    with pytest.raises(UserError, match=message):
        train(Recipe.from_dict(made))
