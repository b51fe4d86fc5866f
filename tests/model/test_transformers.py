"""Swin, SOLIDER and CLIP: what they compute, in naive loops where they differ from timm's."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lookalike.core.errors import UserError
from lookalike.model import build_backbone, to_reference_key
from lookalike.model.backbones.swin_network import SemanticScale, SwinNetwork, UnfoldedPatchMerging
from lookalike.model.stop_layers import cut
from lookalike.model.weights.reference_layout import idle_keys


def tiny(semantic_weight: float | None = None, **options: Any) -> SwinNetwork:
    torch.manual_seed(0)
    sizes = {"width": 8, "depths": (2, 2), "heads": (1, 2), "window_size": 2, "image_size": 32} | options
    rates = {"drop_rate": 0.0, "attn_drop_rate": 0.0, "drop_path_rate": 0.0}
    return SwinNetwork(**sizes, **rates, class_num=5, semantic_weight=semantic_weight)  # type: ignore[arg-type]


def test_patches_are_merged_channel_by_channel() -> None:
    torch.manual_seed(0)
    merging = UnfoldedPatchMerging(3)
    x = torch.randn(1, 3, 4, 3)  # the odd side is padded with zeros
    padded = F.pad(x, (0, 0, 0, 0, 0, 1))
    expected = torch.empty(1, 2, 2, 6)
    for row in range(2):
        for column in range(2):
            patch = [
                padded[0, 2 * row + i, 2 * column + j, channel]
                for channel in range(3)
                for i in (0, 1)
                for j in (0, 1)
            ]
            expected[0, row, column] = merging.reduction(merging.norm(torch.stack(patch)))
    torch.testing.assert_close(merging(x), expected)


def test_meaning_and_looks() -> None:
    scale = SemanticScale(4, 0.3)
    nn.init.normal_(scale.scale.bias)
    nn.init.normal_(scale.shift.bias)
    x = torch.randn(2, 3, 3, 4)
    factor = 0.3 * scale.scale.weight[:, 0] + 0.7 * scale.scale.weight[:, 1] + scale.scale.bias
    added = 0.3 * scale.shift.weight[:, 0] + 0.7 * scale.shift.weight[:, 1] + scale.shift.bias
    torch.testing.assert_close(scale(x), x * torch.log(1 + torch.exp(factor)) + added)
    assert list(scale.state_dict()) == ["scale.weight", "scale.bias", "shift.weight", "shift.bias"]


@pytest.mark.parametrize("semantic_weight", [None, 0.2, -1.0])
@pytest.mark.parametrize("size", [(32, 32), (40, 24)])
def test_every_weight_learns_at_any_size(semantic_weight: float | None, size: tuple[int, int]) -> None:
    net = tiny(semantic_weight)
    net(torch.randn(2, 3, *size)).square().mean().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0 or key.endswith(("relative_position_bias_table", "qkv.bias")), (
            key
        )


def test_keys_of_solider() -> None:
    theirs = {key for key, _ in to_reference_key(tiny(0.2)).values()}
    assert {"semantic_embed_w.0.weight", "semantic_embed_b.0.bias", "norm3.weight", "head.bias"} <= theirs
    assert "layers.0.downsample.reduction.weight" in theirs
    assert {"norm.weight", "norm0.bias", "semantic_embed_w.3.weight"} <= idle_keys(tiny(0.2))
    assert not any("semantic" in key for key, _ in to_reference_key(tiny(-1.0)).values())


def test_the_reference_shifts_windows_that_cover_the_whole_map() -> None:
    images = torch.randn(1, 3, 16, 16)  # a map of 2x2 in the last stage, which is one window
    plain, shifted = tiny(image_size=16), tiny(image_size=16, always_partition=True)
    shifted.load_state_dict(plain.state_dict())
    for net in (plain, shifted):
        for name, parameter in net.named_parameters():
            if "relative_position_bias_table" in name:
                nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert not torch.allclose(plain(images), shifted(images), atol=1e-6)


def test_cuts() -> None:
    images = torch.randn(2, 3, 32, 32)
    assert cut(tiny(), "avgpool")(images).shape == (2, 16)
    assert cut(tiny(), "layers[0].downsample")(images).shape == (2, 4, 4, 16)
    assert cut(tiny(0.5), "layers[0].semantic")(images).shape == (2, 4, 4, 16)
    with pytest.raises(UserError, match=r"no layer for BackboneStopLayer 'flatten'.*avgpool"):
        cut(tiny(), "flatten")


def test_arguments() -> None:
    with torch.device("meta"):
        net = build_backbone(
            {"name": "SwinTransformer_tiny_patch4_window7_224_SOLIDER", "img_size": (256, 128)}
        )
    assert isinstance(net, SwinNetwork)
    with pytest.raises(UserError, match="semantic_weight"):
        build_backbone({"name": "SwinTransformer_tiny_patch4_window7_224_SOLIDER", "semantic_weight": 2})


class TestClip:
    name = "CLIP_vit_base_patch32_224"

    def test_mean_of_the_projected_patch_tokens(self) -> None:
        torch.manual_seed(0)
        net: Any = build_backbone({"name": self.name, "return_embed": True, "return_mean_embed": True}).eval()
        images = torch.randn(1, 3, 224, 224)
        with torch.no_grad():
            tokens = net.forward_features(images)
            assert tokens.shape == (1, 50, 768)
            expected = (tokens[:, 1:] @ net.head.weight.t()).mean(dim=1)
            torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-5)
            whole = cut(net, "flatten")  # a layer that the reference does not have either
            torch.testing.assert_close(whole(images), expected, rtol=1e-4, atol=1e-5)
            keys = to_reference_key(net)
            assert keys["head.weight"] == ("proj", True)
            assert keys["norm_pre.bias"] == ("ln_pre.bias", False)
            # the activation that CLIP was trained with, x * sigmoid(1.702 x), and the reference's
            x = torch.linspace(-3, 3, 7)
            torch.testing.assert_close(net.blocks[0].mlp.act(x), x * torch.sigmoid(1.702 * x))

    def test_other_outputs_and_the_reference_activation(self) -> None:
        section: dict[str, Any] = {"name": self.name, "return_embed": True, "output_dim": 640}
        with torch.device("meta"):
            tokens: Any = build_backbone(section, reference_behaviour=True)
            scores: Any = build_backbone({"name": self.name, "class_num": 7})
        x = torch.linspace(-3, 3, 7)
        torch.testing.assert_close(tokens.blocks[0].mlp.act(x), F.gelu(x))
        images = torch.empty(2, 3, 224, 224, device="meta")
        assert tokens(images).shape == (2, 49, 640)
        assert scores(images).shape == (2, 7)
        assert to_reference_key(scores)["head.bias"] == ("head.fc_head.bias", False)
        assert idle_keys(scores) == {"proj"}


@pytest.mark.parametrize("semantic_weight", [None, 0.5])
def test_swin_can_be_exported(semantic_weight: float | None) -> None:
    net = tiny(semantic_weight).eval()
    images = torch.randn(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images[:1]), net(images[:1]), rtol=1e-4, atol=1e-5)
