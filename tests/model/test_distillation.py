"""Several models in one: what they give, who learns, which weights they take, what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lookalike.core.component import Place, Section, SectionList
from lookalike.core.errors import UserError
from lookalike.model import DistillationModel, RecModel, build_model, load_weights

IMAGES, LABELS = torch.randn(3, 3, 16, 16), torch.tensor([0, 4, 2])


def network(width: int = 4, depth: int = 2) -> dict[str, Any]:
    return {
        "name": "RecModel",
        "Backbone": {"name": "Conv4", "width": width, "depth": depth},
        "Neck": {"name": "FC", "embedding_size": width, "class_num": 8},
        "Head": {"name": "ArcMargin", "embedding_size": 8, "class_num": 5, "margin": 0.2, "scale": 30},
    }


def distillation(**changes: Any) -> dict[str, Any]:
    models = [{"Teacher": network(8)}, {"Student": network(4)}]
    block = {"name": "DistillationModel", "models": models, **changes}
    return {key: value for key, value in block.items() if value is not None}


def build(**changes: Any) -> DistillationModel:
    model = build_model(distillation(**changes))
    assert isinstance(model, DistillationModel)
    return model


def test_outputs_are_those_of_each_model() -> None:
    model = build().eval()
    outputs = model(IMAGES, LABELS)
    assert list(outputs) == ["Teacher", "Student"]
    assert {key: tuple(value.shape) for key, value in outputs["Student"].items()} == {
        "backbone": (3, 4),
        "features": (3, 8),
        "neck": (3, 8),
        "logits": (3, 5),
    }
    assert outputs["Teacher"]["backbone"].shape == (3, 8)
    assert torch.equal(model.embed(IMAGES), outputs["Student"]["features"])
    assert torch.equal(model.embed(IMAGES, "backbone"), outputs["Student"]["backbone"])
    assert model.output_names() == model.student.output_names()
    assert (model.embedding_size((3, 16, 16)), model.class_num) == (8, 5)
    other = build(infer_model_name="Teacher").eval()
    assert torch.equal(other.embed(IMAGES), other.model("Teacher").embed(IMAGES))


def test_each_block_may_ask_for_layers() -> None:
    models = distillation()["models"]
    models[0]["Teacher"]["Backbone"]["return_stages"] = [0]
    outputs = build(models=models)(IMAGES, LABELS)
    assert outputs["Teacher"]["blocks[0]"].shape == (3, 8, 8, 8)
    assert "blocks[0]" not in outputs["Student"]


def test_a_frozen_teacher_rests_and_peers_learn() -> None:
    frozen = build(freeze_params_list=[True, False]).train()
    assert not any(part.training for part in frozen.model("Teacher").modules())
    assert all(part.training for part in frozen.student.modules())
    before = copy.deepcopy(frozen.state_dict())
    outputs = frozen(IMAGES, LABELS)
    (outputs["Student"]["features"] - outputs["Teacher"]["features"]).square().sum().backward()
    after = frozen.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if key.startswith("Teacher."))
    assert not torch.equal(
        before["Student.backbone.blocks.0.bn.running_mean"],
        after["Student.backbone.blocks.0.bn.running_mean"],
    )
    learned = {name for name, parameter in frozen.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[0] for name in learned} == {"Student"}
    assert not any(parameter.requires_grad for parameter in frozen.model("Teacher").parameters())

    peers = build(freeze_params_list=None).train()
    outputs = peers(IMAGES, LABELS)
    (outputs["Student"]["logits"] - outputs["Teacher"]["logits"]).square().sum().backward()
    assert all(parameter.grad is not None for parameter in peers.parameters())


def test_a_frozen_teacher_with_a_margin_gives_scores_and_not_plain_cosines() -> None:
    frozen = build(freeze_params_list=[True, False]).train()
    peers = build().train()
    peers.load_state_dict(frozen.state_dict())
    with torch.no_grad():
        scores = frozen(IMAGES, LABELS)["Teacher"]["logits"]
        cosines = peers.eval()(IMAGES, LABELS)["Teacher"]["logits"]
    torch.testing.assert_close(scores, 30 * cosines)  # without the margin


def test_a_backbone_alone_gives_class_scores() -> None:
    plain = {"name": "ResNet18", "class_num": 5}
    model = build(models=[{"Teacher": plain}, {"Student": network()}]).eval()
    outputs = model(torch.randn(2, 3, 32, 32))["Teacher"]
    assert list(outputs) == ["backbone", "features", "logits"]
    assert torch.equal(outputs["logits"], outputs["backbone"])
    assert outputs["logits"].shape == (2, 5)


def test_layers_are_grouped_side_by_side() -> None:
    model = build(models=[{"Teacher": network(8, depth=3)}, {"Student": network(4, depth=2)}])
    groups = model.layer_groups()
    assert sorted(name for group in groups for name in group) == sorted(
        n for n, _ in model.named_parameters()
    )
    assert [len({name.split(".")[0] for name in group}) for group in groups] == [1, 2, 2, 2]
    assert groups[-1] == [name for name in groups[-1] if ".backbone." not in name]


class TestWeights:
    def saved(self, model: nn.Module, file: Path) -> Path:
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, file)
        return file

    def test_of_all_models_and_of_the_student(self, tmp_path: Path) -> None:
        trained = build()
        whole = self.saved(trained, tmp_path / "whole.safetensors")
        student = self.saved(trained.student, tmp_path / "student.safetensors")

        model = build()
        assert load_weights(model, whole, required=("Student.backbone", "Student.neck")).complete
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in trained.state_dict().items())

        model = build()
        report = load_weights(model, student, required=("Student.backbone",))
        assert {key.split(".")[0] for key in report.matched} == {"Student"}
        assert {key.split(".")[0] for key in report.missing} == {"Teacher"}

        alone = build_model(network(4))
        report = load_weights(alone, whole, required=("backbone", "neck", "head"))
        assert report.complete
        other = build_model(network(8))
        assert load_weights(other, whole, among="Teacher").complete
        assert torch.equal(
            other.state_dict()["head.weight"], trained.model("Teacher").state_dict()["head.weight"]
        )
        assert torch.equal(
            alone.state_dict()["neck.fc.weight"], trained.student.state_dict()["neck.fc.weight"]
        )

        with pytest.raises(
            UserError, match=r"weights that this model computes with are not in the file.*Teacher\.back"
        ):
            load_weights(build(), student, required=("Teacher.backbone",))

    def test_of_a_list(self, tmp_path: Path) -> None:
        teacher = build_model(network(8))
        file = self.saved(teacher, tmp_path / "teacher.safetensors")
        lists = {"pretrained_list": [str(file), None], "freeze_params_list": [True, False]}
        model = build(**lists)
        assert torch.equal(
            model.model("Teacher").state_dict()["head.weight"], teacher.state_dict()["head.weight"]
        )
        block = distillation(**lists)
        assert not torch.equal(
            build_model(block, pretrained=False).state_dict()["Teacher.head.weight"],
            teacher.state_dict()["head.weight"],
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"models": None},
            r"Arch\.models: a DistillationModel needs a list of models, written as '- Teacher",
        ),
        ({"models": [network()]}, r"Arch\.models\[0\]: expected one model, written as"),
        (
            {"models": [{"Student": 3}]},
            r"models\[0\]\.Student: expected the keys of a RecModel or a backbone",
        ),
        ({"models": [{"Student": network()}, {"Student": network()}]}, "is that of another one already"),
        ({"models": [{"train": network()}]}, "'train' cannot be the name of a model"),
        (
            {"infer_model_name": "Studnet"},
            "infer_model_name: there is no model 'Studnet' among Teacher, Student",
        ),
        ({"freeze_params_list": [True]}, r"freeze_params_list: needs one entry for each of the 2 models"),
        ({"freeze_params_list": ["yes", "no"]}, "freeze_params_list: needs one entry for each"),
        ({"pretrained_list": [True, None]}, "pretrained_list: needs a path, a URL or null|path or URL"),
        ({"modles": []}, "unknown key 'modles', did you mean 'models'"),
        (
            {"name": "DistilationModel"},
            "unknown architecture 'DistilationModel', did you mean 'DistillationModel'",
        ),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model({**distillation(), **changes} if changes.get("models", 1) else distillation(**changes))


def test_a_mistake_inside_a_model_names_its_line() -> None:
    inner = Section({**network(), "Nekc": {}}, Place("Arch.models[1].Student", "r.yaml", 20))
    inner.lines = {"Nekc": 23}
    models = SectionList(
        [{"Teacher": network()}, Section({"Student": inner}, Place("Arch.models[1]", "r.yaml", 19))],
        Place("Arch.models", "r.yaml", 5),
    )
    with pytest.raises(
        UserError, match=r"^r\.yaml:23: Arch\.models\[1\]\.Student: unknown key 'Nekc', did you"
    ):
        build_model(distillation(models=models))


def test_a_mistake_in_a_plain_mapping_names_its_path() -> None:
    wrong = {**network(), "Head": {"name": "FC", "embedding_size": 9, "class_num": 5}}
    with pytest.raises(
        UserError, match=r"Arch\.models\[1\]\.Student\.Head \(FC\) takes 9 features, but Arch\.models"
    ):
        build(models=[{"Teacher": network()}, {"Student": wrong}])
    assert isinstance(build_model(network()), RecModel)
