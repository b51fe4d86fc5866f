"""Layers that a model gives beside its features, and the layer that gradients stop at."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lookalike.core.component import Place, Section
from lookalike.core.errors import UserError
from lookalike.model import RecModel, build_backbone, build_model
from lookalike.model.layer_outputs import output_of
from lookalike.model.stages import stage_layers

IMAGES = torch.randn(2, 3, 32, 32)


def model_of(backbone: Any, stop: str | None = None, **more: Any) -> RecModel:
    block: dict[str, Any] = {"Backbone": backbone, **more}
    if stop:
        block["BackboneStopLayer"] = {"name": stop}
    return build_model(block).eval()


def conv4(**more: Any) -> dict[str, Any]:
    return {"name": "Conv4", "width": 4, "depth": 3, **more}


def test_layers_appear_under_their_names() -> None:
    model = model_of(conv4(return_patterns=["blocks[0]", r"blocks\.[12]\.conv"]), "avg_pool")
    outputs = model(IMAGES)
    assert list(outputs) == ["backbone", "features", "blocks[0]", "blocks.1.conv", "blocks.2.conv"]
    assert list(outputs) == model.output_names()
    for name in ("blocks[0]", "blocks.1.conv", "blocks.2.conv"):
        assert torch.equal(outputs[name], output_of(model.backbone, IMAGES, name))
    assert torch.equal(model.embed(IMAGES, "blocks[0]"), outputs["blocks[0]"].mean(dim=(2, 3)))
    assert torch.equal(copy.deepcopy(model)(IMAGES)["blocks[0]"], outputs["blocks[0]"])
    outputs["blocks[0]"].sum().backward()
    learned = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learned == {name for name, _ in model.named_parameters() if name.startswith("backbone.blocks.0.")}


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("timm/test_resnet", None),
        ("timm/test_resnet", "layer4.0.conv1"),  # cut inside a block: traced
        ("timm/test_vit", "blocks.1.norm2"),
        ("ResNet18", "blocks[7].conv0"),  # cut in its last block, which alone is traced
    ],
)
def test_layers_of_networks_that_are_whole_or_cut(name: str, stop: str | None) -> None:
    layers = {"timm/test_vit": ["blocks.0", "patch_embed"], "ResNet18": ["blocks[1]", "blocks[6].conv1"]}.get(
        name, ["layer1", "layer2.0", "layer3.0.conv1"]
    )
    images = torch.randn(1, 3, 160, 160)
    torch.manual_seed(0)
    whole = build_backbone(name).eval()
    torch.manual_seed(0)
    model = model_of({"name": name, "return_patterns": layers}, stop)
    outputs = model(images)
    for layer in layers:
        torch.testing.assert_close(outputs[layer], output_of(whole, images, layer))
    assert set(model.backbone.state_dict()) <= set(whole.state_dict())
    outputs[layers[0]].sum().backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


def test_layers_that_will_be_looked_at_stay_in_a_network_that_is_traced() -> None:
    block = {"Backbone": "timm/test_resnet", "BackboneStopLayer": {"name": "layer4.0.conv1"}}
    images = torch.randn(1, 3, 160, 160)
    with pytest.raises(UserError, match="does not run"):
        build_model(block).features_at(images, "layer2")
    model = build_model(block, watched=["backbone.layer2", "neck"]).eval()
    two = model.several_at(images, ["layer2", "backbone.layer1.0.conv1"])
    assert list(two) == ["layer2", "backbone.layer1.0.conv1"]
    assert torch.equal(two["layer2"], model.features_at(images, "backbone.layer2"))
    assert set(model(images)) == {"backbone", "features"}


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        # the lists of the reference
        ("ResNet18", ["blocks[1]", "blocks[3]", "blocks[5]", "blocks[7]"]),
        ("ResNet50_last_stage_stride1", ["blocks[2]", "blocks[6]", "blocks[12]", "blocks[15]"]),
        ("PPLCNet_x0_25", ["blocks2", "blocks3", "blocks4", "blocks5", "blocks6"]),
        ("MobileNetV1_x0_25", ["blocks[0]", "blocks[2]", "blocks[4]", "blocks[10]", "blocks[12]"]),
        ("MobileNetV3_large_x0_35", ["blocks[0]", "blocks[2]", "blocks[5]", "blocks[11]", "blocks[14]"]),
        ("MobileNetV3_small_x0_35", ["blocks[0]", "blocks[2]", "blocks[7]", "blocks[10]"]),
        ("PPLCNetV2_small", ["stages[0]", "stages[1]", "stages[2]", "stages[3]"]),
        ("timm/test_resnet", ["act1", "layer1", "layer2", "layer3", "layer4"]),
    ],
)
def test_stages(name: str, stages: list[str]) -> None:
    with torch.device("meta"):
        network = build_backbone(name)
    assert stage_layers(network, (3, 224, 224)) == stages


def test_stages_by_number() -> None:
    every = model_of(conv4(return_stages=True))
    assert list(every(IMAGES))[2:] == ["blocks[0]", "blocks[1]", "blocks[2]"]
    assert list(model_of(conv4(return_stages=1))(IMAGES))[2:] == ["blocks[1]"]
    both = model_of(conv4(return_stages=[0, 2], return_patterns="avg_pool"))(IMAGES)
    assert list(both)[2:] == ["avg_pool", "blocks[0]", "blocks[2]"]
    assert list(model_of(conv4(return_stages=False))(IMAGES)) == ["backbone", "features"]


class TestFreezing:
    def frozen(self, model: nn.Module) -> set[str]:
        return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}

    @pytest.mark.parametrize("key", ["freeze_before", "freeze_befor"])
    def test_what_leads_to_the_layer_does_not_learn(self, key: str) -> None:
        neck = {"FC": {"embedding_size": 4, "class_num": 2}}
        model = model_of(conv4(**{key: "blocks[1]"}), Neck=neck).train()
        names = [name for name, _ in model.named_parameters()]
        assert self.frozen(model) == {
            name for name in names if name.startswith(("backbone.blocks.0", "backbone.blocks.1"))
        }
        before = copy.deepcopy(model.state_dict())
        model(IMAGES)["features"].sum().backward()
        learned = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert learned == set(names) - self.frozen(model)
        # as in the reference, batch norms go on measuring
        assert not torch.equal(
            before["backbone.blocks.0.bn.running_mean"],
            model.state_dict()["backbone.blocks.0.bn.running_mean"],
        )

    def test_a_gradient_may_go_round_the_layer(self) -> None:
        model = model_of({"name": "ResNet18", "class_num": 2, "freeze_before": "blocks[2].conv0"}).train()
        assert self.frozen(model) == {
            f"backbone.blocks.2.conv0.{name}" for name in ("conv.weight", "bn.weight", "bn.bias")
        }
        model(IMAGES)["features"].sum().backward()
        assert model.backbone.get_parameter("stem.0.conv.weight").grad is not None

    @pytest.mark.parametrize("stop", [None, "layer4.0.conv1"])
    def test_of_timm_whole_and_traced(self, stop: str | None) -> None:
        model = model_of({"name": "timm/test_resnet", "freeze_before": "layer2"}, stop)
        frozen = {name.split(".")[1] for name in self.frozen(model)}
        assert frozen == {"conv1", "bn1", "layer1", "layer2"}
        twin = copy.deepcopy(model).train()
        for parameter in twin.parameters():
            parameter.requires_grad_(True)
        twin(torch.randn(2, 3, 160, 160))["features"].sum().backward()
        reached = {name.split(".")[1] for name, p in twin.named_parameters() if p.grad is not None}
        assert reached == {"layer3", "layer4"}


@pytest.mark.parametrize(
    ("backbone", "stop", "message"),
    [
        (
            conv4(return_patterns=["blokcs"]),
            None,
            r"return_patterns\[0\]: there is no layer 'blokcs'; nearest: blocks",
        ),
        (conv4(return_patterns=3), None, "return_patterns: must be a list of names of layers, got 3"),
        (
            conv4(return_patterns=["blocks.2"]),
            "blocks[1]",
            r"the layer 'blocks\.2' lies behind 'blocks\[1\]'",
        ),
        (conv4(return_stages=[0, 3]), None, r"there is no stage 3; the backbone has 0: blocks\[0\], 1: "),
        (conv4(return_stages="all"), None, "return_stages: must be true, the number of a stage or a list"),
        (conv4(freeze_before="blokcs"), None, "freeze_before: there is no layer 'blokcs'"),
        (conv4(freeze_before="blocks", freeze_befor="blocks"), None, "are one key; keep one of them"),
        (conv4(freeze_before=1), None, "must be the name of a layer, got 1"),
        (conv4(freeze_before="flatten"), None, "no gradient reaches the output of the backbone"),
        (
            {"name": "timm/test_resnet", "return_patterns": ["layer1.0.downsample"]},
            None,
            "does not run|there is no",
        ),
        (
            {"name": "timm/vgg11", "return_patterns": ["features"]},
            None,
            "no layer can be returned as 'features'",
        ),
    ],
)
def test_mistakes(backbone: dict[str, Any], stop: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model_of(backbone, stop)


def test_a_mistake_names_its_line() -> None:
    section = Section(conv4(return_stages=[7]), Place("Arch.Backbone", "r.yaml", 3))
    section.lines = {"return_stages": 9}
    with pytest.raises(UserError, match=r"^r\.yaml:9: Arch\.Backbone\.return_stages: there is no stage 7"):
        build_model({"Backbone": section})


def test_something_else_than_a_tensor() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    network = nn.Sequential()
    network.pair = Pair()
    with pytest.raises(UserError, match="'pair' gives a tuple, not a tensor"):
        output_of(network, IMAGES, "pair")
