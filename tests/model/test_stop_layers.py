"""A network cut at a layer gives what the layer gives in the whole network, and holds nothing behind it."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from lookalike.core.component import Place
from lookalike.core.errors import UserError
from lookalike.model import build_backbone
from lookalike.model.backbones.adaface_ir import ImprovedResidualBlock
from lookalike.model.backbones.darknet import ResidualBlock as DarkNetBlock
from lookalike.model.backbones.pplcnet_v2 import RepDepthwiseSeparable
from lookalike.model.backbones.resnet import ResidualBlock
from lookalike.model.backbones.wide_resnet import PreActivatedBlock
from lookalike.model.layer_outputs import output_of
from lookalike.model.layers import ConvNorm, DownscaleInInferDropout
from lookalike.model.meta_norm import MetaBIN, gates, set_mode, using_gates
from lookalike.model.stop_layers import WHOLE_NETWORK, cut, find_layer, layer_path

CONTAINERS = (nn.ModuleList, nn.ModuleDict)


def names(net: nn.Module) -> list[str]:
    return [name for name, part in net.named_modules() if name and not isinstance(part, CONTAINERS)]


def check_every_layer(net: nn.Module, images: torch.Tensor, layers: list[str]) -> None:
    net.eval()
    for name in layers:
        with torch.no_grad():
            expected = output_of(net, images, name)
            part = cut(copy.deepcopy(net), name)
            found = part(images)
        assert torch.equal(found, expected), name
        assert part.state_dict().keys() <= net.state_dict().keys(), name
        part.train()
        part(images).mean().backward()
        for key, parameter in part.named_parameters():
            assert parameter.grad is not None, f"{key} is left over behind {name}"


def test_every_layer_of_a_chain() -> None:
    net = build_backbone({"Conv4": {"width": 4, "depth": 2}})
    check_every_layer(net, torch.randn(2, 3, 8, 8), names(net))


def test_every_layer_of_residual_blocks() -> None:
    blocks = [
        ResidualBlock(4, 4, 1, bottleneck=False, first=True, vd=False),
        ResidualBlock(4, 2, 2, bottleneck=True, first=True, vd=True),
    ]
    net = nn.Sequential(*blocks, nn.Flatten(1))
    check_every_layer(net, torch.randn(2, 4, 8, 8), names(net))


def test_every_layer_of_branches() -> None:
    blocks = [
        RepDepthwiseSeparable(4, 8, 2, 5, split=True, branches=True, excite=True),
        RepDepthwiseSeparable(8, 8, 1, 3, branches=True, shortcut=True),
    ]
    net = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), DownscaleInInferDropout(0.2), nn.Flatten(1))
    check_every_layer(net, torch.randn(2, 4, 8, 8), names(net))


def test_layers_of_other_residual_blocks() -> None:
    blocks = [
        DarkNetBlock(4),
        PreActivatedBlock(4, 8, 2, dropout=0.0, activates_shortcut=True),
        ImprovedResidualBlock(8, 16, 2, bottleneck=True, excite=True),
    ]
    inside = [
        "0.conv1.bn",
        "1.relu1",
        "1.conv2",
        "1.convShortcut",
        "2.res_layer.7",
        "2.res_layer.se_block.fc1",
    ]
    check_every_layer(nn.Sequential(*blocks), torch.randn(2, 4, 8, 8), [*inside, "1", "2.shortcut_layer"])


def test_gated_norms_stay_what_they_are_in_a_network_cut_inside_a_block() -> None:
    block = ResidualBlock(4, 4, 1, bottleneck=False, first=True, vd=False)
    for part in block.modules():
        if isinstance(part, ConvNorm):
            part.bn = MetaBIN(4)
    net = nn.Sequential(block)
    check_every_layer(net, torch.randn(2, 4, 8, 8), ["0.conv0.bn", "0.conv1.conv"])
    part = cut(net, "0.conv1.conv").train()
    assert list(gates(part)) == ["0.conv0.bn.gate.gate"]
    set_mode(part, "hold")
    images, before = torch.randn(2, 4, 8, 8), {key: value.clone() for key, value in part.state_dict().items()}
    with using_gates(part, {"0.conv0.bn.gate.gate": torch.zeros(4)}):
        other = part(images)
    assert not torch.allclose(other, part(images))
    assert all(torch.equal(value, part.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("timm/test_vit", ["blocks.1", "blocks[0].attn.proj", "norm"]),
        ("timm/test_resnet", ["layer2", "layer2[0].conv1", "global_pool"]),
    ],
)
def test_layers_of_timm(name: str, layers: list[str]) -> None:
    net = build_backbone(name)
    size = 160
    check_every_layer(net, torch.randn(2, 3, size, size), layers)


def test_what_is_left_can_be_copied_and_exported() -> None:
    images = torch.randn(2, 3, 64, 64)
    net = build_backbone({"name": "ResNet18"}, stop_layer="blocks[2].conv0").eval()
    twin = copy.deepcopy(net)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        assert torch.equal(twin(images), net(images))
        assert torch.equal(twin.train().eval()(images), net(images))
        assert all(part.training for part in copy.deepcopy(twin.train()).modules())
        program = torch.export.export(net, (images,))
        torch.testing.assert_close(program.module()(images), net(images))


def test_names() -> None:
    assert layer_path(" stages[3][1].act ") == "stages.3.1.act"
    net = build_backbone("ResNet18")
    assert find_layer(net, "flatten_0") == "flatten"
    assert find_layer(net, "adaptive_avg_pool2d_0") == "avg_pool"
    with pytest.raises(
        UserError, match=r"r\.yaml:4: Arch.BackboneStopLayer: there is no layer .*'flaten'; nearest: flatten"
    ):
        cut(net, "flaten", Place("Arch.BackboneStopLayer", "r.yaml", 4))
    with pytest.raises(
        UserError, match=r"is a list of layers, name one of them: stages\.2\.0\.dw_conv_list\.0"
    ):
        cut(build_backbone("PPLCNetV2_small"), "stages[2][0].dw_conv_list")


class Aliased(nn.Sequential):
    """A network that says what two names mean which it has no layer for."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        self.fc = nn.Linear(4, 2)
        self.stop_layer_aliases = {"flatten": WHOLE_NETWORK, "avg_pool": "pool.0"}


def test_names_that_a_backbone_declares() -> None:
    images = torch.randn(2, 3, 8, 8)
    net = Aliased()
    whole, pooled = net(images), net.pool[0](net.stem(images))
    for name in ("flatten", "flatten_0"):
        assert torch.equal(output_of(net, images, name), whole)
        assert cut(net, name) is net
    model = nn.ModuleDict({"backbone": net})
    assert find_layer(model, "backbone.flatten") == "backbone"
    assert find_layer(model, "backbone.avg_pool") == "backbone.pool.0"
    assert torch.equal(output_of(net, images, "adaptive_avg_pool2d_0"), pooled)
    assert torch.equal(cut(net, "avg_pool")(images), pooled)
    with pytest.raises(UserError, match="there is no layer"):
        cut(Aliased(), "flaten")


def test_looking_at_a_layer() -> None:
    net = build_backbone("ResNet18")
    images = torch.randn(1, 3, 64, 64)
    assert output_of(net, images, "blocks[3]").shape == (1, 128, 8, 8)
    with pytest.raises(UserError, match=r"^there is no layer 'blokcs'"):
        output_of(net, images, "blokcs")
    with pytest.raises(UserError, match="does not run"):
        output_of(build_backbone("PPLCNetV2_small"), images, "stages.2.0.dw_conv_list")
