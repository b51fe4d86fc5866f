"""Names of the reference's zoo that are timm's networks: they build, and read its files by name."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lookalike.core.errors import UserError
from lookalike.model import (
    backbone_normalisation,
    backbones,
    build_backbone,
    build_model,
    load_weights,
    to_reference_key,
    to_reference_state,
)
from lookalike.model.backbones.reference_names import REFERENCE_NAMES
from lookalike.model.weights.urls import pretrained_url, published
from tests.conftest import REPOSITORY

Shapes = dict[str, tuple[int, ...]]


def on_paper(name: str, **arguments: object) -> nn.Module:
    """A network without numbers."""
    with torch.device("meta"):
        return build_backbone({"name": name, **arguments})


def shapes(net: nn.Module) -> Shapes:
    """What a file of the reference for a network holds, by the maps."""
    state = net.state_dict()
    found = {}
    for ours, (theirs, transposed) in to_reference_key(net).items():
        shape = tuple(state[ours].shape)
        found[theirs] = shape[1::-1] if transposed else shape
    return found


def _one_of_each_family() -> list[str]:
    families = {
        (twin.keys, re.split(r"[_\d]", twin.timm_name)[0]): name for name, twin in REFERENCE_NAMES.items()
    }
    return sorted(families.values())


ALL = [
    pytest.param(name, marks=[] if name in _one_of_each_family() else [pytest.mark.slow])
    for name in sorted(REFERENCE_NAMES)
]


@pytest.mark.parametrize("name", ALL)
def test_every_name_builds_and_its_keys_are_told_apart(name: str) -> None:
    net = on_paper(name, class_num=7)
    if REFERENCE_NAMES[name].keys is not None:
        theirs = [key for key, _ in to_reference_key(net).values()]
        assert len(set(theirs)) == len(theirs)
        assert all("num_batches" not in key and "running" not in key for key in theirs)


def test_no_name_is_taken_twice_and_all_but_one_are_published() -> None:
    assert not [name for name in REFERENCE_NAMES if name in backbones]
    assert set(REFERENCE_NAMES) - set(published("imagenet")) == {"PPHGNet_base"}


# What the reference's published code calls the layers, enumerated again from its structure.


def conv_norm(
    name: str, *kernel: int, conv: str = "_conv", norm: str = "_batch_norm"
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.{conv}.weight", kernel
    yield from batch_norm(f"{name}.{norm}", kernel[0])


def batch_norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for kind in ("weight", "bias", "_mean", "_variance"):
        yield f"{name}.{kind}", (width,)


def linear(name: str, inside: int, outside: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (inside, outside)
    yield f"{name}.bias", (outside,)


def resnext(depths: tuple[int, ...], vd: bool = False, squeezed: bool = False) -> Shapes:
    entries: list[tuple[str, tuple[int, ...]]] = []
    if vd:
        for number, (inside, outside) in enumerate(((3, 32), (32, 32), (32, 64)), start=1):
            entries += conv_norm(f"conv1_{number}", outside, inside, 3, 3)
    else:
        entries += conv_norm("conv", 64, 3, 7, 7)
    channels = 64
    for stage, depth in enumerate(depths):
        width, out = 128 * 2**stage, 256 * 2**stage
        for block in range(depth):
            name = f"bb_{stage}_{block}"
            entries += conv_norm(f"{name}.conv0", width, channels, 1, 1)
            entries += conv_norm(f"{name}.conv1", width, width // 32, 3, 3)
            entries += conv_norm(f"{name}.conv2", out, width, 1, 1)
            if squeezed:
                entries += linear(f"{name}.scale.squeeze", out, out // 16)
                entries += linear(f"{name}.scale.excitation", out // 16, out)
            if block == 0:
                entries += conv_norm(f"{name}.short", out, channels, 1, 1)
            channels = out
    return dict([*entries, *linear("out", 2048, 1000)])


def densenet(depths: tuple[int, ...], channels: int = 64, growth: int = 32) -> Shapes:
    entries = list(conv_norm("conv1_func", channels, 3, 7, 7))
    for stage, depth in enumerate(depths, start=2):
        for layer in range(1, depth + 1):
            name = f"db_conv_{stage}.conv{stage}_{layer}"
            entries += batch_norm(f"{name}.bn_ac_func1._batch_norm", channels)
            entries.append((f"{name}.bn_ac_func1._conv.weight", (4 * growth, channels, 1, 1)))
            entries += batch_norm(f"{name}.bn_ac_func2._batch_norm", 4 * growth)
            entries.append((f"{name}.bn_ac_func2._conv.weight", (growth, 4 * growth, 3, 3)))
            channels += growth
        if stage < 5:
            name = f"tr_conv{stage}_blk.conv_ac_func"
            entries += batch_norm(f"{name}._batch_norm", channels)
            channels //= 2
            entries.append((f"{name}._conv.weight", (channels, channels * 2, 1, 1)))
    return dict([*entries, *batch_norm("batch_norm", channels), *linear("out", channels, 1000)])


def convnext(depths: tuple[int, ...], widths: tuple[int, ...]) -> Shapes:
    entries: list[tuple[str, tuple[int, ...]]] = []
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        conv, norm = (0, 1) if stage == 0 else (1, 0)
        before, size = (3, 4) if stage == 0 else (widths[stage - 1], 2)
        entries.append((f"downsample_layers.{stage}.{conv}.weight", (width, before, size, size)))
        entries.append((f"downsample_layers.{stage}.{conv}.bias", (width,)))
        normed = width if stage == 0 else before
        entries += [(f"downsample_layers.{stage}.{norm}.{kind}", (normed,)) for kind in ("weight", "bias")]
        for block in range(depth):
            name = f"stages.{stage}.{block}"
            entries += [
                (f"{name}.gamma", (width,)),
                (f"{name}.dwconv.weight", (width, 1, 7, 7)),
                (f"{name}.dwconv.bias", (width,)),
                (f"{name}.norm.weight", (width,)),
                (f"{name}.norm.bias", (width,)),
                *linear(f"{name}.pwconv1", width, 4 * width),
                *linear(f"{name}.pwconv2", 4 * width, width),
            ]
    entries += [(f"norm.{kind}", (widths[-1],)) for kind in ("weight", "bias")]
    return dict([*entries, *linear("head", widths[-1], 1000)])


def efficientnet_b0() -> Shapes:
    def convolution(name: str, *kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        return conv_norm(f"{name}._conv", *kernel, conv="_conv._conv", norm="_bn")

    entries = list(convolution("_ef._conv_stem", 32, 3, 3, 3))
    channels, number = 32, 0
    stages = (
        (1, 16, 1, 3),
        (6, 24, 2, 3),
        (6, 40, 2, 5),
        (6, 80, 3, 3),
        (6, 112, 3, 5),
        (6, 192, 4, 5),
        (6, 320, 1, 3),
    )
    for widening, out, depth, kernel in stages:
        for block in range(depth):
            name = f"_ef.{'block' if block else '_blocks'}.{number}."
            inside = channels * widening
            if widening > 1:
                entries += convolution(f"{name}._ecn", inside, channels, 1, 1)
            entries += convolution(f"{name}._dcn", inside, 1, kernel, kernel)
            entries += [
                (f"{name}._se._conv1._conv.weight", (channels // 4, inside, 1, 1)),
                (f"{name}._se._conv1._conv.bias", (channels // 4,)),
                (f"{name}._se._conv2._conv.weight", (inside, channels // 4, 1, 1)),
                (f"{name}._se._conv2._conv.bias", (inside,)),
            ]
            entries += convolution(f"{name}._pcn", out, inside, 1, 1)
            channels, number = out, number + 1
    entries += conv_norm("_conv", 1280, 320, 1, 1, conv="_conv._conv", norm="_bn")
    return dict([*entries, *linear("_fc", 1280, 1000)])


def mobilenet_v2(scale: float) -> Shapes:
    channels = int(32 * scale)
    entries = list(conv_norm("conv1", channels, 3, 3, 3))
    stages = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
    for number, (widening, width, depth) in enumerate(stages, start=2):
        for block in range(1, depth + 1):
            name = f"conv{number}.{'_first_block' if block == 1 else f'conv{number}_{block}'}"
            inside, out = channels * widening, int(width * scale)
            entries += conv_norm(f"{name}._expand_conv", inside, channels, 1, 1)
            entries += conv_norm(f"{name}._bottleneck_conv", inside, 1, 3, 3)
            entries += conv_norm(f"{name}._linear_conv", out, inside, 1, 1)
            channels = out
    return dict([*entries, *conv_norm("conv9", 1280, channels, 1, 1), *linear("out", 1280, 1000)])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ResNeXt50_32x4d", resnext((3, 4, 6, 3))),
        ("ResNeXt101_vd_32x4d", resnext((3, 4, 23, 3), vd=True)),
        ("SE_ResNeXt50_32x4d", resnext((3, 4, 6, 3), squeezed=True)),
        ("DenseNet121", densenet((6, 12, 24, 16))),
        ("DenseNet264", densenet((6, 12, 64, 48))),
        ("ConvNeXt_tiny", convnext((3, 3, 9, 3), (96, 192, 384, 768))),
        ("EfficientNetB0", efficientnet_b0()),
        ("MobileNetV2", mobilenet_v2(1.0)),
        ("MobileNetV2_x0_75", mobilenet_v2(0.75)),
    ],
)
def test_whole_files(name: str, expected: Shapes) -> None:
    assert shapes(on_paper(name)) == expected


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        (
            "Res2Net50_26w_4s",
            {
                "conv1._conv.weight": (64, 3, 7, 7),
                "bb_0_0.conv0._batch_norm._mean": (104,),
                "bb_0_0.res2a_branch2b_3._conv.weight": (26, 26, 3, 3),
                "bb_2_5.res4f_branch2b_1._batch_norm._variance": (104,),
                "bb_3_0.short._conv.weight": (2048, 1024, 1, 1),
                "out.weight": (2048, 1000),
            },
        ),
        (
            "PVT_V2_B2_Linear",
            {
                "patch_embed1.proj.weight": (64, 3, 7, 7),
                "patch_embed2.norm.bias": (128,),
                "block1.2.attn.sr.weight": (64, 64, 1, 1),
                "block3.0.mlp.dwconv.dwconv.weight": (1280, 1, 3, 3),
                "block4.2.attn.kv.weight": (512, 1024),
                "norm4.weight": (512,),
                "head.weight": (512, 1000),
            },
        ),
        (
            "RepVGG_A0",
            {
                "stage0.rbr_dense.conv.weight": (48, 3, 3, 3),
                "stage1.1.rbr_identity._mean": (48,),
                "stage3.13.rbr_1x1.bn.bias": (192,),
                "stage4.0.rbr_dense.conv.weight": (1280, 192, 3, 3),
                "linear.weight": (1280, 1000),
            },
        ),
        (
            "PPHGNetV2_B0",
            {
                "stem.stem2a.lab.scale": (1,),
                "stages.1.downsample.conv.weight": (64, 1, 3, 3),
                "stages.2.blocks.1.layers.2.conv2.conv.weight": (64, 1, 5, 5),
                "stages.3.blocks.0.aggregation_squeeze_conv.bn._mean": (512,),
                "stages.3.blocks.0.aggregation_excitation_conv.lab.bias": (1,),
                "last_conv.weight": (2048, 1024, 1, 1),
                "lab.scale": (1,),
                "fc.bias": (1000,),
            },
        ),
        (
            "FasterNet_T0",
            {
                "patch_embed.norm._mean": (40,),
                "stages.1.reduction.weight": (80, 40, 2, 2),
                "stages.2.blocks.1.spatial_mixing.partial_conv3.weight": (20, 20, 3, 3),
                "stages.6.blocks.0.mlp.3.weight": (320, 640, 1, 1),
                "avgpool_pre_head.1.weight": (1280, 320, 1, 1),
                "head.weight": (1280, 1000),
            },
        ),
        ("DeiT_tiny_distilled_patch16_224", {"dist_token": (1, 1, 192), "head_dist.weight": (192, 1000)}),
        ("DLA34", {"level3.tree2.root.conv.weight": (128, 448, 1, 1), "fc.weight": (1000, 512, 1, 1)}),
        ("StarNet_S1", {"stages.0.1.f1.conv.bias": (96,), "norm._variance": (192,)}),
        ("pcpvt_small", {"blocks.0.1.attn.sr.weight": (64, 64, 8, 8), "pos_block.3.proj.0.bias": (512,)}),
    ],
)
def test_some_keys(name: str, samples: Shapes) -> None:
    found = shapes(on_paper(name))
    assert {key: found.get(key) for key in samples} == samples


def written(net: nn.Module, path: Path) -> Path:
    path.write_bytes(pickle.dumps(to_reference_state(net)))
    return path


@pytest.mark.parametrize("name", ["SE_ResNeXt50_32x4d", "RepVGG_A0", "DeiT_tiny_distilled_patch16_224"])
def test_a_file_of_the_reference_fills_the_network(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = build_backbone({"name": name, "class_num": 5}).eval()
    for part in whole.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)  # type: ignore[arg-type]
    path = written(whole, tmp_path / "w.pdparams")
    again = build_backbone({"name": name, "class_num": 5, "pretrained": str(path)}).eval()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in whole.state_dict().items())
    # cut at the pooled features, with another number of classes in the file: nothing is missing, nothing told
    model = build_model({"Backbone": {"name": name}, "BackboneStopLayer": {"name": "flatten"}})
    assert load_weights(model, path).complete


def test_a_file_that_lacks_something_or_is_of_another_network_is_refused(tmp_path: Path) -> None:
    state = to_reference_state(build_backbone({"name": "RepVGG_A0", "class_num": 5}))
    state["stage0.rbr_reparam.weight"] = np.zeros(
        (48, 3, 3, 3), np.float32
    )  # of a file saved after evaluation
    path = tmp_path / "w.pdparams"
    path.write_bytes(pickle.dumps(state))
    assert load_weights(build_backbone({"name": "RepVGG_A0", "class_num": 5}), path).complete
    del state["stage1.0.rbr_1x1.conv.weight"]
    path.write_bytes(pickle.dumps(state))
    with pytest.raises(UserError, match=r"1 weights of the network are not in the file .*conv_1x1"):
        load_weights(build_backbone({"name": "RepVGG_A0", "class_num": 9}), path)
    with pytest.raises(UserError, match="of another shape"):
        load_weights(build_backbone("RepVGG_A1"), path)


def test_where_no_names_are_known_nothing_is_guessed(tmp_path: Path) -> None:
    net = build_backbone({"name": "TinyNet_E", "class_num": 5})
    path = written(build_backbone({"name": "timm/tinynet_e", "class_num": 5}), tmp_path / "w.pdparams")
    told = r"weights of the reference for TinyNet_E cannot be read.*name: timm/tinynet_e, pretrained: True"
    with pytest.raises(UserError, match=told):
        load_weights(net, path)
    with pytest.raises(UserError, match=told):
        build_backbone({"name": "TinyNet_E", "pretrained": True})
    assert pretrained_url("DenseNet121").endswith("/DenseNet121_pretrained.pdparams")


def test_as_in_a_recipe_of_the_reference() -> None:
    images = torch.randn(2, 3, 64, 64)
    assert build_backbone("TinyNet_E")(images).shape == (2, 1000)
    pooled = build_backbone("TinyNet_E", stop_layer="flatten_0")
    assert pooled(images).shape == (2, 1280)
    inner = build_backbone({"name": "StarNet_S1", "class_num": 5}, stop_layer="stages[1]")
    assert inner(images).shape == (2, 48, 8, 8)
    assert {key for key, _ in to_reference_key(inner).values()} >= {"stages.1.0.bn._mean"}
    with pytest.raises(UserError, match="does not take these arguments"):
        build_backbone({"name": "TinyNet_E", "class_nun": 5})
    with pytest.raises(UserError, match="did you mean 'DenseNet121'"):
        build_backbone("DenseNet12l")
    with pytest.raises(UserError, match=r"HarDNet68: .*docs/backbones"):
        build_backbone("HarDNet68")


def test_what_its_weights_expect_of_a_picture() -> None:
    assert backbone_normalisation("ViT_base_patch16_384").input_size == (3, 384, 384)
    assert backbone_normalisation("ViT_base_patch16_384").mean == (0.5, 0.5, 0.5)
    assert backbone_normalisation("DenseNet121").mean == (0.485, 0.456, 0.406)


def test_the_first_block_of_res2net_adds_its_splits() -> None:
    net = build_backbone({"name": "Res2Net50_14w_8s", "class_num": 5}).eval()
    block = net.layer1[0]  # type: ignore[index,union-attr]
    x = torch.randn(2, 64, 8, 8)
    with torch.no_grad():
        splits = block.relu(block.bn1(block.conv1(x))).split(14, dim=1)
        outputs: list[torch.Tensor] = []
        for index in range(7):
            added = splits[index] + outputs[-1] if outputs else splits[index]
            outputs.append(block.relu(block.bns[index](block.convs[index](added))))
        joined = block.bn3(block.conv3(torch.cat([*outputs, splits[7]], dim=1)))
        expected = torch.relu(joined + block.downsample(x))
        torch.testing.assert_close(block(x), expected)


def test_the_document_says_what_is_so() -> None:
    page = (REPOSITORY / "docs" / "backbones.md").read_text(encoding="utf-8")
    _, ours, mapped, absent = re.split(r"^## (?:Ours|Of timm|Not here)$", page, flags=re.MULTILINE)
    rows = dict(re.findall(r"^\| `(\w+)` \| `timm/(\S+)`.*", mapped, flags=re.MULTILINE))
    assert rows == {name: twin.timm_name for name, twin in REFERENCE_NAMES.items()}
    readable = set(re.findall(r"^\| `(\w+)` .* yes: by published key names \|$", mapped, flags=re.MULTILINE))
    assert readable == {name for name, twin in REFERENCE_NAMES.items() if twin.keys is not None}
    own = {entry.name for entry in backbones}
    assert set(re.findall(r"`(\w+)`", ours)) >= own - {"Conv4"}
    listed = absent.split("\n\n")[1]
    assert set(re.findall(r"`(\w+)`", listed)) == set(published("imagenet")) - own - set(REFERENCE_NAMES)
