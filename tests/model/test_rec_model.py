"""Building whole models: what they give, what they refuse, what is frozen, how their layers are grouped."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn

from lookalike.core.component import Place, Section
from lookalike.core.errors import UserError
from lookalike.model import RecModel, build_model
from lookalike.model.shapes import output_shape


def arch(**changes: Any) -> dict[str, Any]:
    block: dict[str, Any] = {
        "name": "RecModel",
        "infer_output_key": "features",
        "infer_add_softmax": False,
        "Backbone": {"name": "Conv4", "width": 16, "depth": 2},
        "Neck": {"name": "FC", "embedding_size": 16, "class_num": 8},
        "Head": {"name": "ArcMargin", "embedding_size": 8, "class_num": 5, "margin": 0.2, "scale": 30},
    }
    return {key: value for key, value in {**block, **changes}.items() if value is not None}


IMAGES = torch.randn(3, 3, 16, 16)
LABELS = torch.tensor([0, 4, 2])


def test_outputs() -> None:
    model = build_model(arch()).train()
    outputs = model(IMAGES, LABELS)
    assert {key: tuple(value.shape) for key, value in outputs.items()} == {
        "backbone": (3, 16),
        "neck": (3, 8),
        "features": (3, 8),
        "logits": (3, 5),
    }
    assert outputs["features"] is outputs["neck"]
    model.eval()
    assert torch.equal(model.embed(IMAGES), model(IMAGES)["features"])
    assert torch.equal(model.embed(IMAGES, "backbone"), model(IMAGES)["backbone"])
    assert torch.equal(model.embed(IMAGES, "logits"), model(IMAGES)["logits"])
    assert model.embedding_size((3, 16, 16)) == 8
    assert model.infer_output_key == "features"
    with pytest.raises(UserError, match="not 'feature'"):
        model.embed(IMAGES, "feature")


def test_parts_may_be_absent() -> None:
    bare = build_model(arch(Neck=None, Head=None, is_rec=True))
    assert set(bare(IMAGES)) == {"backbone", "features"}
    with pytest.raises(UserError, match="no neck"):
        bare.embed(IMAGES, "neck")
    assert set(build_model(arch(Head="IdentityHead"))(IMAGES, LABELS)) == {"backbone", "neck", "features"}
    head = {"name": "FC", "embedding_size": 16, "class_num": 5}
    split = build_model(arch(Head=head, head_feature_from="backbone"))
    outputs = split(IMAGES)
    assert split.head is not None
    torch.testing.assert_close(outputs["logits"], split.head(outputs["backbone"]))


@pytest.mark.parametrize(
    "head",
    [
        {"name": "BNNeck", "num_features": 8},
        {"name": "MetaBNNeck", "num_features": 8},
        {"name": "VehicleNeck", "in_channels": 8, "out_channels": 5},
        {"name": "FRFNNeck", "num_features": 8, "low_dim": 5},
        {"name": "Tanh"},
    ],
    ids=lambda head: head["name"],
)
def test_a_neck_as_head_gives_logits(head: dict[str, Any]) -> None:
    outputs = (model := build_model(arch(Head=head)).train())(IMAGES, LABELS)
    assert model.head is not None
    torch.testing.assert_close(outputs["logits"], model.head(outputs["features"]))
    assert tuple(outputs["logits"].shape) == (3, 5 if {"out_channels", "low_dim"} & head.keys() else 8)


@pytest.mark.parametrize("name", ["ArcMargin", "CosMargin", "CircleMargin", "AdaMargin", "IdentityHead"])
def test_a_head_as_neck_sees_no_labels(name: str) -> None:
    sizes = {"embedding_size": 16, "class_num": 8}
    margin = {"margin": 0.2, "scale": 30} if name == "CircleMargin" else {}
    neck = {"name": name, **(sizes if name != "IdentityHead" else {}), **margin}
    head = {"name": "FC", "embedding_size": 16 if name == "IdentityHead" else 8, "class_num": 5}
    outputs = (model := build_model(arch(Neck=neck, Head=head)).train())(IMAGES, LABELS)
    embedded = outputs["backbone"]
    if name != "IdentityHead":
        (weights,) = model.neck.parameters()  # type: ignore[union-attr]
        embedded = nn.functional.normalize(embedded) @ nn.functional.normalize(weights).T
    torch.testing.assert_close(outputs["neck"], embedded)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Head": {"name": "BNNek"}}, "unknown head 'BNNek', did you mean 'BNNeck'"),
        ({"Head": "ArcMargn"}, "unknown head 'ArcMargn', did you mean 'ArcMargin'"),
        (
            {"Neck": {"name": "ArcMargin", "embedding_size": 16, "class_num": 8, "sizes": [4]}},
            r"Arch\.Neck: 'sizes' are for a head: a neck gives one output",
        ),
        (
            {"Neck": {"name": "ArcMargin", "embedding_size": 32, "class_num": 8}},
            r"Arch\.Neck \(ArcMargin\) takes 32 features, but Arch\.Backbone \(Conv4\) gives 16",
        ),
        (
            {"Neck": {"name": "CosMargin", "embedding_size": 16, "class_num": 9}},
            r"Arch\.Head \(ArcMargin\) takes 8 features, but Arch\.Neck \(CosMargin\) gives 9",
        ),
        (
            {"Head": {"name": "FPN", "in_channels": [8], "out_channels": 4, "embedding_size": 4}},
            r"Arch\.Head \(FPN\) reads several layers, which only a neck is given",
        ),
        (
            {"Neck": {"name": "FC", "embedding_size": 32, "class_num": 8}},
            r"Arch\.Neck \(FC\) takes 32 features, but Arch\.Backbone \(Conv4\) gives 16",
        ),
        (
            {"Head": {"name": "FC", "embedding_size": 9, "class_num": 5}},
            r"Arch\.Head \(FC\) takes 9 features, but Arch\.Neck \(FC\) gives 8",
        ),
        (
            {"Neck": {"name": "Tanh"}},
            r"Arch\.Head \(ArcMargin\) takes 8 features, but Arch\.Neck \(Tanh\) gives 16",
        ),
        ({"head_feature_from": "backbone"}, r"Arch\.Head .* but Arch\.Backbone \(Conv4\) gives 16"),
        ({"name": "DistillationModel"}, "unknown key 'Backbone'"),
        ({"Backbon": {}}, "unknown key 'Backbon', did you mean 'Backbone'"),
        ({"Backbone": None}, "needs a Backbone"),
        ({"BackboneStopLayer": "flatten"}, "expected {name: LAYER}"),
        ({"head_feature_from": "head"}, "must be 'neck' or 'backbone'"),
        ({"Neck": {"name": "FCC"}}, "unknown neck 'FCC', did you mean 'FC'"),
        ({"Head": {"name": "ArcFace"}}, "unknown head 'ArcFace'"),
        ({"freeze": ["backbone.blokcs"]}, r"Arch\.freeze\[0\]: 'backbone.blokcs' names no part"),
        ({"freeze": ["backbone.("]}, "not a regular expression"),
        ({"freeze": 3}, "must be a list of names"),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    block = {**arch(), **changes}
    with pytest.raises(UserError, match=message):
        build_model({key: value for key, value in block.items() if value is not None})


def test_a_mistake_names_its_line() -> None:
    block = Section(arch(), Place("Arch", "r.yaml", 3))
    block["Neck"] = Section(
        {"name": "FC", "embedding_sise": 16, "class_num": 8}, Place("Arch.Neck", "r.yaml", 9)
    )
    with pytest.raises(
        UserError, match=r"^r\.yaml:9: Arch\.Neck: unknown argument 'embedding_sise', did you mean"
    ):
        build_model(block)


def test_sizes_that_do_not_fit_name_one_line() -> None:
    block = Section(arch(), Place("Arch", "r.yaml", 3))
    block["Head"] = Section(
        {"name": "FC", "embedding_size": 9, "class_num": 5}, Place("Arch.Head", "r.yaml", 18)
    )
    with pytest.raises(UserError) as caught:
        build_model(block)
    assert str(caught.value) == (
        "r.yaml:18: Arch.Head (FC) takes 9 features, but Arch.Neck (FC) gives 8: make them equal"
    )


def test_an_unknown_key_names_its_line() -> None:
    block = Section({**arch(), "Backbon": {}, "freeze": 3}, Place("Arch", "r.yaml", 3))
    block.lines = {"Backbon": 7, "freeze": 8}
    with pytest.raises(UserError, match=r"^r\.yaml:7: Arch: unknown key 'Backbon', did you mean 'Backbone'"):
        build_model(block)
    del block["Backbon"]
    with pytest.raises(UserError, match=r"^r\.yaml:8: Arch\.freeze: must be a list of names"):
        build_model(block)


def test_sizes_that_depend_on_the_picture_are_checked_when_it_is_known() -> None:
    maps = {"Conv4": {"width": 16, "depth": 2, "pool": "none"}}
    block = arch(Backbone=maps, Neck={"name": "FC", "embedding_size": 256, "class_num": 8})
    assert build_model(block)(IMAGES)["features"].shape == (3, 8)
    assert build_model(block, image_shape=(3, 16, 16)).embedding_size((3, 16, 16)) == 8
    with pytest.raises(UserError, match=r"takes 256 features, but .* gives 1024"):
        build_model(block, image_shape=(3, 32, 32))


def test_a_convolution_takes_maps() -> None:
    neck = {"name": "VehicleNeck", "in_channels": 16, "out_channels": 8}
    model = build_model(arch(BackboneStopLayer={"name": "avg_pool"}, Neck=neck))
    assert model(IMAGES)["backbone"].shape == (3, 16, 1, 1)
    assert model(IMAGES)["features"].shape == (3, 8)


def test_labels_are_checked() -> None:
    model = build_model(arch())
    assert model(IMAGES, LABELS[:, None])["logits"].shape == (3, 5)
    with pytest.raises(UserError, match=r"label 5 is outside 0…4 .* set class_num to at least 6 or relabel"):
        model(IMAGES, torch.tensor([0, 5, 1]))
    with pytest.raises(UserError, match=r"label -1 is outside .* labels start at 0"):
        model(IMAGES, torch.tensor([0, -1, 1]))


def test_any_layer_can_be_looked_at() -> None:
    model = build_model(arch()).eval()
    maps = model.features_at(IMAGES, "blocks[0].conv")
    assert maps.shape == (3, 16, 16, 16)
    assert torch.equal(maps, model.features_at(IMAGES, "backbone.blocks.0.conv"))
    assert torch.equal(model.features_at(IMAGES, "neck"), model(IMAGES)["neck"])
    with pytest.raises(UserError, match=r"^layer: there is no layer 'neckk'; nearest: neck"):
        model.features_at(IMAGES, "neckk")
    with pytest.raises(UserError, match=r"^--layer: there is no layer 'neckk'; nearest: neck"):
        model.features_at(IMAGES, "neckk", Place("--layer"))


class TestFreezing:
    def frozen(self, patterns: Any, **changes: Any) -> tuple[RecModel, set[str]]:
        model = build_model(arch(freeze=patterns, **changes))
        return model, {key for key, parameter in model.named_parameters() if not parameter.requires_grad}

    def test_by_name_by_index_and_by_expression(self) -> None:
        every = {key for key, _ in build_model(arch()).named_parameters()}
        first = {key for key in every if key.startswith("backbone.blocks.0.")}
        assert self.frozen("backbone")[1] == {key for key in every if key.startswith("backbone.")}
        assert self.frozen(["backbone.blocks[0]"])[1] == first
        assert self.frozen([r"backbone\.blocks\.[01]\.bn"])[1] == {k for k in every if ".bn." in k}
        assert self.frozen(["backbone.blocks.0.conv.weight", "neck"])[1] == {
            "backbone.blocks.0.conv.weight",
            "neck.fc.weight",
            "neck.fc.bias",
        }

    def test_statistics_rest_unless_told_otherwise(self) -> None:
        for keep, expected in ((True, True), (False, False)):
            model, _ = self.frozen(["backbone.blocks[0]"], freeze_norm_statistics=keep)
            before = copy.deepcopy(model.state_dict())
            model.eval()
            model.train()
            assert model.training
            model(IMAGES, LABELS)["logits"].sum().backward()
            after = model.state_dict()
            key = "backbone.blocks.{}.bn.running_mean"
            assert torch.equal(before[key.format(0)], after[key.format(0)]) is expected
            assert not torch.equal(before[key.format(1)], after[key.format(1)])

    def test_frozen_branches_join(self) -> None:
        backbone = {"name": "PPLCNetV2_small", "class_expand": 16}
        model, _ = self.frozen("backbone", Backbone=backbone, BackboneStopLayer={"name": "flatten"})
        assert not model.fuse().train().backbone.get_submodule("stem.0.bn").training

    def test_a_look_at_the_shape_leaves_the_mode_alone(self) -> None:
        model, _ = self.frozen(["backbone.blocks[0]"])
        modes = {name: part.training for name, part in model.named_modules()}
        assert model.embedding_size((3, 16, 16)) == 8
        assert {name: part.training for name, part in model.named_modules()} == modes
        assert len(set(modes.values())) == 2


def check_groups(model: RecModel) -> list[list[str]]:
    groups = model.layer_groups()
    flat = [name for group in groups for name in group]
    assert sorted(flat) == sorted(name for name, _ in model.named_parameters())
    assert len(set(flat)) == len(flat)
    assert groups[-1] == [name for name in flat if not name.startswith("backbone.")]
    return groups


def test_layers_are_grouped_from_stem_to_head() -> None:
    groups = check_groups(build_model(arch()))
    assert [len(group) for group in groups] == [3, 3, 3]
    resnet = {"name": "ResNet50", "stem_act": None}
    block = arch(
        Backbone=resnet,
        BackboneStopLayer={"name": "flatten"},
        Neck={"name": "BNNeck", "num_features": 2048},
        Head=None,
    )
    groups = check_groups(build_model(block))
    assert len(groups) == 1 + 16 + 1
    assert all(name.startswith("backbone.blocks.15.") for name in groups[16])


def test_a_vision_transformer_is_grouped_as_timm_does() -> None:
    block = arch(
        Backbone={"name": "timm/vit_tiny_patch16_224", "img_size": 32},
        Neck={"name": "FC", "embedding_size": 192, "class_num": 8},
    )
    groups = check_groups(build_model(block))
    assert {"backbone.cls_token", "backbone.pos_embed"} <= set(groups[0])
    blocks = [
        int(match.group(1))
        for group in groups
        for match in [re.search(r"blocks\.(\d+)\.", group[0])]
        if match
    ]
    assert blocks == list(range(12))
    cut = build_model({**block, "BackboneStopLayer": {"name": "blocks[2]"}, "Neck": None, "Head": None})
    assert cut(torch.randn(1, 3, 32, 32))["backbone"].shape == (1, 5, 192)
    groups = cut.layer_groups()
    assert sorted(n for g in groups for n in g) == sorted(n for n, _ in cut.named_parameters())
    assert not any("blocks.3." in name for group in groups for name in group)


def test_shapes_are_found_without_computing() -> None:
    class NeedsNumbers(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.new_zeros(len(images), 3 + int(images.sum().item()))

    assert output_shape(NeedsNumbers(), (3, 4, 4)) == (3,)
    with pytest.raises(UserError, match="gives a list"):
        build_model({"Backbone": {"name": "timm/test_resnet", "features_only": True}})


def test_copies_work_and_branches_join() -> None:
    block = arch(
        Backbone={"name": "PPLCNetV2_small", "class_expand": 16}, BackboneStopLayer={"name": "flatten"}
    )
    model = build_model(block).eval()
    joined = copy.deepcopy(model).fuse()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(joined.embed(images), model.embed(images), rtol=1e-3, atol=1e-4)
    assert len(joined.state_dict()) < len(model.state_dict())


def test_synchronised_norms(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    block = arch(use_sync_bn=True, freeze=["backbone.blocks.0.bn"])
    build_model(block)
    assert "'use_sync_bn' has no effect without several processes on GPUs" in caplog.text
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model = build_model(block)
    norms = [model.get_submodule(f"backbone.blocks.{number}.bn") for number in (0, 1)]
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert [norm.training for norm in norms] == [False, True]
    assert not norms[0].weight.requires_grad
