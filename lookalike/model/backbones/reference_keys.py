"""What the reference's files call the weights of timm's networks, family by family.

Each entry of `KEYS` takes the network and gives a function from timm's keys to the reference's. They are
written from the layer names of the reference's published code; that batch norms say `_mean` and `_variance`
there is settled elsewhere (`weights/reference_layout.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import nn

Rename = Callable[[str], str]
_Replacement = str | Callable[[re.Match[str]], str]


def _rules(*rules: tuple[str, _Replacement]) -> Callable[[nn.Module], Rename]:
    """Regular expressions and what takes their place, one after the other."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def rename(key: str) -> str:
        for pattern, replacement in compiled:
            key = pattern.sub(replacement, key, count=1)
        return key

    return lambda _network: rename


def _block_of_resnet(match: re.Match[str]) -> str:
    return f"bb_{int(match[1]) - 1}_{match[2]}."


_CONV_NORM = (
    (r"^(bb_.*)\.conv1\.", r"\1.conv0._conv."),
    (r"^(bb_.*)\.bn1\.", r"\1.conv0._batch_norm."),
    (r"^(bb_.*)\.conv2\.", r"\1.conv1._conv."),
    (r"^(bb_.*)\.bn2\.", r"\1.conv1._batch_norm."),
    (r"^(bb_.*)\.conv3\.", r"\1.conv2._conv."),
    (r"^(bb_.*)\.bn3\.", r"\1.conv2._batch_norm."),
)
_RESNEXT = (
    (r"^layer(\d)\.(\d+)\.", _block_of_resnet),
    *_CONV_NORM,
    (r"\.se\.fc1\.", ".scale.squeeze."),
    (r"\.se\.fc2\.", ".scale.excitation."),
    (r"^fc\.", "out."),
)


def _split_of_res2net(match: re.Match[str]) -> str:
    """Block `c` of stage 3: `bb_1_2.res3c_branch2b_1` for its first split."""
    stage, block, kind, split = int(match[1]), int(match[2]), match[3], int(match[4])
    layer = "_conv" if kind == "convs" else "_batch_norm"
    return f"bb_{stage - 1}_{block}.res{stage + 1}{chr(97 + block)}_branch2b_{split + 1}.{layer}."


def _dense_layer(match: re.Match[str]) -> str:
    block, layer, kind, half = int(match[1]), match[2], match[3], match[4]
    inner = "_batch_norm" if kind == "norm" else "_conv"
    return f"db_conv_{block + 1}.conv{block + 1}_{layer}.bn_ac_func{half}.{inner}."


def _transition(match: re.Match[str]) -> str:
    inner = "_batch_norm" if match[2] == "norm" else "_conv"
    return f"tr_conv{int(match[1]) + 1}_blk.conv_ac_func.{inner}."


def _next(pattern: str) -> Callable[[re.Match[str]], str]:
    """Numbers that begin at 1 there: `block{}` for `stages.0.blocks`."""
    return lambda match: pattern.format(int(match[1]) + 1)


def _efficientnet(network: Any) -> Rename:
    """Blocks are numbered through there; those that begin a stage are called otherwise than the others."""
    begins = [0]
    for stage in network.blocks:
        begins.append(begins[-1] + len(stage))
    parts = {
        "separable": {"conv_dw": "_dcn", "bn1": "_dcn", "conv_pw": "_pcn", "bn2": "_pcn"},
        "inverted": {
            "conv_pw": "_ecn",
            "bn1": "_ecn",
            "conv_dw": "_dcn",
            "bn2": "_dcn",
            "conv_pwl": "_pcn",
            "bn3": "_pcn",
        },
    }

    def rename(key: str) -> str:
        words = key.split(".")
        if words[0] in ("conv_stem", "bn1"):
            return f"_ef._conv_stem._conv.{_conv_or_norm(words[0])}.{words[-1]}"
        if words[0] in ("conv_head", "bn2"):
            return f"_conv.{_conv_or_norm(words[0])}.{words[-1]}"
        if words[0] == "classifier":
            return f"_fc.{words[-1]}"
        stage, block = int(words[1]), int(words[2])
        name = f"_ef.{'block' if block else '_blocks'}.{begins[stage] + block}."
        if words[3] == "se":
            return f"{name}._se.{'_conv1' if words[4] == 'conv_reduce' else '_conv2'}._conv.{words[-1]}"
        kind = "inverted" if hasattr(network.blocks[stage][block], "conv_pwl") else "separable"
        return f"{name}.{parts[kind][words[3]]}._conv.{_conv_or_norm(words[3])}.{words[-1]}"

    return rename


def _conv_or_norm(name: str) -> str:
    return "_bn" if name.startswith("bn") else "_conv._conv"


KEYS: dict[str, Callable[[Any], Rename]] = {
    "same": _rules(),
    "resnext": _rules(
        (r"^conv1\.", "conv._conv."),
        (r"^bn1\.", "conv._batch_norm."),
        *_RESNEXT,
        (r"\.downsample\.0\.", ".short._conv."),
        (r"\.downsample\.1\.", ".short._batch_norm."),
    ),
    "resnext_vd": _rules(
        (r"^conv1\.0\.", "conv1_1._conv."),
        (r"^conv1\.1\.", "conv1_1._batch_norm."),
        (r"^conv1\.3\.", "conv1_2._conv."),
        (r"^conv1\.4\.", "conv1_2._batch_norm."),
        (r"^conv1\.6\.", "conv1_3._conv."),
        (r"^bn1\.", "conv1_3._batch_norm."),
        *_RESNEXT,
        (r"\.downsample\.1\.", ".short._conv."),
        (r"\.downsample\.2\.", ".short._batch_norm."),
    ),
    "res2net": _rules(
        (r"^conv1\.", "conv1._conv."),
        (r"^bn1\.", "conv1._batch_norm."),
        (r"^layer(\d)\.(\d+)\.(convs|bns)\.(\d+)\.", _split_of_res2net),
        *_RESNEXT,
        (r"\.downsample\.0\.", ".short._conv."),
        (r"\.downsample\.1\.", ".short._batch_norm."),
    ),
    "densenet": _rules(
        (r"^features\.conv0\.", "conv1_func._conv."),
        (r"^features\.norm0\.", "conv1_func._batch_norm."),
        (r"^features\.denseblock(\d)\.denselayer(\d+)\.(norm|conv)(\d)\.", _dense_layer),
        (r"^features\.transition(\d)\.(norm|conv)\.", _transition),
        (r"^features\.norm5\.", "batch_norm."),
        (r"^classifier\.", "out."),
    ),
    "convnext": _rules(
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc([12])\.", r".pwconv\1."),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    ),
    "pvt_v2": _rules(
        (r"^patch_embed\.", "patch_embed1."),
        (r"^stages\.(\d)\.downsample\.", _next("patch_embed{}.")),
        (r"^stages\.(\d)\.blocks\.", _next("block{}.")),
        (r"^stages\.(\d)\.norm\.", _next("norm{}.")),
        (r"\.mlp\.dwconv\.", ".mlp.dwconv.dwconv."),
    ),
    "efficientnet": _efficientnet,
    "repvgg": _rules(
        (r"^stem\.", "stage0."),
        (r"^stages\.(\d)\.", _next("stage{}.")),
        (r"\.conv_kxk\.", ".rbr_dense."),
        (r"\.conv_1x1\.", ".rbr_1x1."),
        (r"\.identity\.", ".rbr_identity."),
        (r"^head\.fc\.", "linear."),
    ),
    "hgnet_v2": _rules(
        (r"\.aggregation\.0\.", ".aggregation_squeeze_conv."),
        (r"\.aggregation\.1\.", ".aggregation_excitation_conv."),
        (r"^head\.last_conv\.0\.", "last_conv."),
        (r"^head\.last_conv\.2\.", "lab."),
        (r"^head\.fc\.", "fc."),
    ),
    "fasternet": _rules(
        (r"^stages\.(\d)\.downsample\.", lambda match: f"stages.{2 * int(match[1]) - 1}."),
        (r"^stages\.(\d)\.blocks\.", lambda match: f"stages.{2 * int(match[1])}.blocks."),
        (r"^conv_head\.", "avgpool_pre_head.1."),
        (r"^classifier\.", "head."),
    ),
}
