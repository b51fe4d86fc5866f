"""Every backbone of our own builds and learns, branches join without a change, timm's come as they are."""

from __future__ import annotations

import copy
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lookalike.core.errors import LookalikeError, UserError
from lookalike.model import backbone_normalisation, backbones, build_backbone, build_model
from lookalike.model.backbones import timm_models
from lookalike.model.layers import ConvNorm, DownscaleInInferDropout, make_divisible
from lookalike.model.meta_norm import gates
from lookalike.model.shapes import output_shape

WIDE_RESNET = {"name": "WideResNet", "depth": 10, "widen_factor": 1, "dropout": 0.1, "num_classes": 7}
ARGUMENTS = {"Conv4": {}, "WideResNet": WIDE_RESNET}
SIDES = {"AlexNet": 224, "VGG": 224, "AdaFace": 112, "WideResNet": 32}
NAMES = [entry.name for entry in backbones]
LARGE = [
    name
    for name in NAMES
    if re.match(r"ResNet(101|152|200)|PPLCNet_x2_[05]$|VGG|AdaFace_IR_(?!18)|CLIP|Swin", name)
]


def case(name: str) -> tuple[dict[str, Any], tuple[int, int, int], int]:
    """A backbone in a recipe, the pictures that it takes, and how many numbers it gives of each."""
    family = re.split(r"[_\d]", name)[0]
    arguments = {} if family == "AdaFace" else ARGUMENTS.get(name, {"class_num": 7})
    named = re.search(r"_(224|336|384)", name)
    side = int(named[1]) if named else SIDES.get(family, 64)
    return {"name": name, **arguments}, (3, side, side), {"Conv": 64, "AdaFace": 512}.get(family, 7)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LARGE])
def test_every_backbone_learns_in_channels_last(name: str) -> None:
    section, shape, width = case(name)
    net = build_backbone(section).to(memory_format=torch.channels_last).train()
    output = net(torch.randn(2, *shape).to(memory_format=torch.channels_last))
    assert output.shape == (2, width)
    output.square().mean().backward()
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", LARGE)
def test_large_backbones_have_the_right_shape(name: str) -> None:
    section, shape, width = case(name)
    with torch.device("meta"):
        net = build_backbone(section)
    assert output_shape(net, shape) == (width,)


def test_what_recipes_of_the_reference_swallow() -> None:
    for name in ("MobileNetV1_x0_25", "Conv4"):
        build_backbone({"name": name, "output_dim": 2048})
    with pytest.raises(UserError, match="unknown argument 'scael'"):
        build_backbone({"name": "PPLCNet_x0_25", "scael": 1})
    with pytest.raises(
        UserError, match=r"'pretraned', did you mean 'pretrained'\? \(accepts: .*, pretrained, use_ssld, "
    ):
        build_backbone({"name": "PPLCNet_x0_25", "pretraned": True})
    with pytest.raises(UserError, match=r"did you mean 'PPLCNet_x0_25'\? .*, and timm/<name> for any"):
        build_backbone("PPLCNet_x0_26")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nope", r"timm has no network 'nope' \(nearest: timm/\w+"),
        ("resnet5", r"did you mean 'resnet50'.*nearest: timm/resnet5\w+, timm/resnet5"),
        ("resnet50x.a1_in1k", "'resnet50x.a1_in1k', did you mean 'resnet50"),
    ],
)
def test_networks_that_timm_does_not_have(name: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        build_backbone(f"timm/{name}")


def test_batch_norms_of_pplcnet_are_free_of_decay_and_those_of_resnet_are_not() -> None:
    def free(name: str) -> set[str]:
        net = build_backbone(name)
        return {key for key, p in net.named_parameters() if getattr(p, "regularizer", None) == ("L2", 0.0)}

    lcnet = build_backbone("PPLCNet_x0_25")
    norms = [name for name, part in lcnet.named_modules() if isinstance(part, nn.BatchNorm2d)]
    assert free("PPLCNet_x0_25") == {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")}
    assert free("ResNet18") == set()


def test_learning_rates_and_strides_of_stages() -> None:
    net = build_backbone({"name": "ResNet18", "lr_mult_list": [0.1, 0.2, 1.0, 1.0, 1.0]})
    factors = {key: getattr(p, "lr_multiplier", 1.0) for key, p in net.named_parameters()}
    assert factors["stem.0.conv.weight"] == 0.1
    assert factors["blocks.1.conv0.conv.weight"] == 0.2
    assert factors["blocks.2.conv0.conv.weight"] == 1.0
    with pytest.raises(UserError, match="lr_mult_list needs 5 numbers"):
        build_backbone({"name": "ResNet18", "lr_mult_list": [0.1]})
    assert output_shape(
        build_backbone({"name": "PPLCNet_x0_25", "stride_list": [2, 2, 2, 2, 1]}, stop_layer="blocks6"),
        (3, 64, 64),
    ) == (128, 4, 4)
    with pytest.raises(UserError, match="stride_list needs 5 entries"):
        build_backbone({"name": "PPLCNet_x0_25", "stride_list": [2, 2]})


@pytest.mark.parametrize("name", ["PPLCNetV2_small", "PPLCNetV2_base_ShiTu"])
def test_joined_branches_give_the_same_output(name: str) -> None:
    torch.manual_seed(0)
    net = build_backbone({"name": name, "class_expand": 32}, stop_layer="flatten")
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
            nn.init.normal_(part.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    net.eval()
    joined = copy.deepcopy(net)
    for part in list(joined.modules()):
        if part is not joined and hasattr(part, "fuse"):
            part.fuse()
            part.fuse()  # a second call changes nothing
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = net(images), joined(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert sum(p.numel() for p in joined.parameters()) < sum(p.numel() for p in net.parameters())
    assert not any("dw_conv_list" in key for key in joined.state_dict())


def test_dropout_masks_in_training_and_scales_afterwards() -> None:
    dropout = DownscaleInInferDropout(0.2)
    ones = torch.ones(100_000)
    masked = dropout.train()(ones)
    torch.testing.assert_close(masked.unique(), torch.tensor([0.0, 1.0]))
    assert masked.mean().item() == pytest.approx(0.8, abs=0.01)
    torch.testing.assert_close(dropout.eval()(ones), ones * 0.8)
    assert torch.equal(DownscaleInInferDropout(0.0).train()(ones), ones)
    with pytest.raises(UserError, match="between 0 and 1"):
        DownscaleInInferDropout(1.5)


def test_channel_counts() -> None:
    assert [make_divisible(value) for value in (4, 8, 11.2, 16, 18, 40, 44)] == [8, 8, 16, 16, 24, 40, 48]


def test_conv4() -> None:
    images = torch.randn(2, 1, 16, 16)
    flat = build_backbone({"Conv4": {"width": 8, "depth": 2, "pool": "none", "input_image_channel": 1}})
    assert flat(images).shape == (2, 8 * 4 * 4)
    grown = build_backbone({"Conv4": {"widths": [4, 6, 10], "input_image_channel": 1}})
    assert grown(images).shape == (2, 10)
    for arguments in ({"depth": 0}, {"width": 0}, {"widths": [4, 0]}):
        with pytest.raises(UserError, match="at least one block and a width of at least 1"):
            build_backbone({"Conv4": arguments})


class TestTimm:
    def test_pooled_features_unless_a_classifier_is_asked_for(self) -> None:
        images = torch.randn(2, 3, 64, 64)
        assert build_backbone("timm/test_resnet")(images).shape[1] > 7
        assert build_backbone({"name": "timm/test_resnet", "class_num": 7})(images).shape == (2, 7)

    def test_the_stop_layer_of_reference_recipes_is_the_pooled_features(self) -> None:
        plain = build_backbone("timm/test_resnet")
        named = build_backbone("timm/test_resnet", stop_layer="flatten_0")
        assert list(plain.state_dict()) == list(named.state_dict())

    def test_any_argument_goes_through(self) -> None:
        net = build_backbone({"name": "timm/test_vit", "img_size": 32, "drop_path_rate": 0.1})
        assert net(torch.randn(2, 3, 32, 32)).ndim == 2
        padded = build_backbone({"name": "timm/test_efficientnet", "pad_type": "same"})
        assert padded(torch.randn(1, 3, 33, 33)).ndim == 2

    def test_mistakes(self) -> None:
        with pytest.raises(UserError, match="did you mean 'resnet50'"):
            build_backbone("timm/resnet5o")
        with pytest.raises(UserError, match=r"does not take these arguments.*img_sise"):
            build_backbone({"name": "timm/test_vit", "img_sise": 32})
        with pytest.raises(UserError, match="use 'pretrained: PATH'"):
            build_backbone({"name": "timm/test_vit", "checkpoint_path": "x.pth"})
        with pytest.raises(UserError, match="use_ssld asks for weights of the reference"):
            build_backbone({"name": "timm/test_vit", "use_ssld": True})

    def test_offline_is_one_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import timm

        def offline(*_: object, **__: object) -> None:
            raise OSError("We couldn't connect to the hub\nlong story")

        monkeypatch.setattr(timm_models, "why_out_of_reach", lambda: None)
        monkeypatch.setattr(timm, "create_model", offline)
        with pytest.raises(
            LookalikeError, match=r"test_vit cannot be fetched from the hub \(We couldn't connect"
        ):
            build_backbone({"name": "timm/test_vit", "pretrained": True})

    def test_out_of_reach_is_told_at_once_or_the_cache_is_read(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        from huggingface_hub import constants

        def refused(*_: object, **__: object) -> None:
            raise ConnectionRefusedError(111, "Connection refused")

        monkeypatch.setattr("urllib.request.getproxies", dict)
        monkeypatch.setattr("socket.create_connection", refused)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        section = {"name": "timm/test_vit", "pretrained": True}
        with pytest.raises(
            LookalikeError, match=r"from the hub \(huggingface\.co: Connection refused\); with"
        ):
            build_backbone(section)
        model = build_backbone({"name": "timm/test_vit", "num_classes": 1000})
        weights = tmp_path / "kept.safetensors"
        save_file(model.state_dict(), weights)
        monkeypatch.setattr(timm_models, "cached_file", lambda _: str(weights))
        torch.testing.assert_close(
            build_backbone(section).state_dict()["cls_token"], model.state_dict()["cls_token"]
        )

    def test_normalisation(self) -> None:
        own = backbone_normalisation("PPLCNet_x2_5")
        assert own.mean == (0.485, 0.456, 0.406)
        assert own.input_size == (3, 224, 224)
        assert backbone_normalisation("AdaFace_IR_18").mean == (0.5, 0.5, 0.5)
        assert backbone_normalisation("timm/vit_base_patch16_clip_224.openai").mean == pytest.approx(
            (0.48145466, 0.4578275, 0.40821073)
        )
        with pytest.raises(UserError, match="unknown backbone"):
            backbone_normalisation("PPLCNet")


def test_a_network_can_be_exported() -> None:
    net = build_backbone("PPLCNetV2_small", stop_layer="flatten").eval()
    for part in list(net.modules()):
        if part is not net and hasattr(part, "fuse"):
            part.fuse()
    images = torch.randn(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images[:1]), net(images[:1]), rtol=1e-4, atol=1e-4)


class TestNetworksOfOtherSizes:
    @pytest.mark.parametrize(
        ("name", "fits", "does_not"), [("AlexNet", (223, 254), (222, 255)), ("VGG11", (224, 255), (223, 256))]
    )
    def test_what_they_can_take(self, name: str, fits: tuple[int, int], does_not: tuple[int, int]) -> None:
        with torch.device("meta"):
            net = build_backbone(name)
        for side in fits:
            assert output_shape(net, (3, side, side)) == (1000,)
        for side in does_not:
            with pytest.raises(
                UserError, match=f"{type(net).__name__} cannot take pictures of 3x{side}x{side}"
            ):
                output_shape(net, (3, side, side))

    def test_a_model_without_a_picture_size_is_checked_at_its_own(self) -> None:
        for backbone in ({"name": "AdaFace_IR_18"}, WIDE_RESNET):
            build_model({"Backbone": backbone})
        with pytest.raises(
            UserError, match=r"Arch\.Backbone: ImprovedRes\w+ cannot take pictures of 3x96x96"
        ):
            build_model({"Backbone": {"name": "AdaFace_IR_18"}}, image_shape=(3, 96, 96))
        with pytest.raises(
            UserError, match=r"input_size must be \[112, 112\] or \[224, 224\], got \[112, 96\]"
        ):
            build_backbone({"name": "AdaFace_IR_18", "input_size": [112, 96]})


def test_wide_resnet() -> None:
    images = torch.randn(2, 3, 32, 32)
    projected = build_backbone({**WIDE_RESNET, "proj": True, "proj_after": True, "low_dim": 5}).eval()
    lengths: list[torch.Tensor] = []
    projected.get_submodule("l2norm").register_forward_hook(lambda *call: lengths.append(call[2].norm(dim=1)))
    assert projected(images).shape == (2, 7)
    torch.testing.assert_close(lengths, [torch.ones(2)])
    cut_early = build_backbone({**WIDE_RESNET, "proj": True, "proj_after": True}, stop_layer="bn1")
    plain = build_backbone(WIDE_RESNET, stop_layer="bn1")
    assert cut_early(images).shape == plain(images).shape == (2, 64)
    assert cut_early.state_dict().keys() == plain.state_dict().keys()
    for wrong, told in (
        ({"proj": True}, "takes 'proj' and 'proj_after' together only: .* is the neck FRFNNeck"),
        ({"depth": 12}, r"needs a depth of 6 n \+ 4 \(10, 16, 22, 28, …\) .* got 12 and 1"),
    ):
        with pytest.raises(UserError, match=told):
            build_backbone({**WIDE_RESNET, **wrong})


def test_vgg_freezes_its_first_blocks_and_keeps_what_its_linear_layers_share() -> None:
    with torch.device("meta"):
        net = build_backbone({"name": "VGG11", "stop_grad_layers": 2})
        early = build_backbone("VGG11", stop_layer="fc1")
    frozen = {key.split(".")[0] for key, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == {"conv_block_1", "conv_block_2"}
    kept = [name for name, _ in early.named_children() if not name.startswith("conv_block")]
    assert kept == ["flatten", "fc1", "relu1", "drop1", "relu2", "drop2"]
    with pytest.raises(UserError, match="stop_grad_layers must lie between 0 and 5, got 6"):
        build_backbone({"name": "VGG11", "stop_grad_layers": 6})


def test_gated_norms_of_resnet50_and_the_rate_of_its_biases() -> None:
    with torch.device("meta"):
        net = build_backbone({"name": "ResNet50_metabin", "bias_lr_factor": 2.0, "lr_mult_list": [0.5] * 5})
    assert len(gates(net)) == sum(isinstance(part, ConvNorm) for part in net.modules()) == 53
    rates = {key: getattr(parameter, "lr_multiplier", 1.0) for key, parameter in net.named_parameters()}
    assert {rates[key] for key in rates if key.endswith("bias")} == {2.0}
    assert rates["stem.0.conv.weight"] == 0.5
    assert {rates[key] for key in rates if ".bn." in key and not key.endswith("bias")} == {1.0}
