"""Weights from files and addresses: what is read, what is refused, what is told."""

from __future__ import annotations

import collections
import functools
import io
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lookalike.core.errors import UserError
from lookalike.model import (
    build_backbone,
    build_model,
    from_reference_state,
    load_weights,
    to_reference_key,
    to_reference_state,
)
from lookalike.model.layers import ConvNorm, Suffixed, underscored
from lookalike.model.meta_norm import MetaBIN
from lookalike.model.rec_model import BackboneFacts
from lookalike.model.weights.pdparams import NAME_TABLE, bfloat16_to_float32, read_pdparams
from lookalike.model.weights.urls import pretrained_url, published, published_url

CONV4 = {"name": "Conv4", "width": 8, "depth": 2}
ARCH = {
    "Backbone": CONV4,
    "Neck": {"name": "FC", "embedding_size": 8, "class_num": 6},
    "Head": {"name": "ArcMargin", "embedding_size": 6, "class_num": 4},
}


def write_pdparams(path: Path, state: dict[str, Any], protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps({**state, NAME_TABLE: {key: f"p_{key}" for key in state}}, protocol))
    return path


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(v, states[1][k]) for k, v in states[0].items()
    )


class TestLayout:
    def test_there_and_back(self) -> None:
        model, other = build_model(ARCH), build_model(ARCH)
        state = to_reference_state(model)
        assert state["head.weight"].shape == (6, 4)
        assert state["neck.fc.weight"].shape == (8, 6)
        assert "backbone.blocks.0.bn._variance" in state
        assert not any("num_batches_tracked" in key for key in state)
        other.load_state_dict(from_reference_state(other, state), strict=False)
        assert equal(model, other)
        assert to_reference_key(model)["head.weight"] == ("head.weight", True)

    def test_branches_bring_the_joined_convolution_along(self, tmp_path: Path) -> None:
        net = build_backbone({"name": "PPLCNetV2_small", "class_expand": 16}, stop_layer="flatten")
        state = to_reference_state(net)
        assert state["stages.2.0.dw_conv.weight"].shape == (192, 1, 5, 5)
        path = write_pdparams(tmp_path / "w.pdparams", state)
        other = build_backbone({"name": "PPLCNetV2_small", "class_expand": 16}, stop_layer="flatten")
        assert load_weights(other, path).complete
        assert equal(net, other)
        for part in list(other.modules()):
            if part is not other and hasattr(part, "fuse"):
                part.fuse()
        np.testing.assert_allclose(
            other.state_dict()["stages.2.0.dw_conv.weight"], state["stages.2.0.dw_conv.weight"]
        )
        with pytest.raises(UserError, match="before the branches of the model are joined"):
            load_weights(other, path)


class Marked(nn.Sequential):
    """A network whose layers have other names in files of the reference."""

    def __init__(self, marked: bool = True) -> None:
        super().__init__()
        self.conv = ConvNorm(3, 4, 1)
        self.fc: nn.Module = nn.Linear(4, 2)
        if marked:
            self.reference_keys = underscored


class TestLayersOfOtherNames:
    def test_marked_layers_there_and_back(self, tmp_path: Path) -> None:
        net, other = Marked(), Marked()
        state = to_reference_state(net)
        assert {"_conv._conv.weight", "_conv._bn._variance", "_fc.bias"} <= state.keys()
        path = write_pdparams(tmp_path / "w.pdparams", state)
        assert load_weights(other, path).complete
        assert equal(net, other)

    def test_one_that_the_stop_layer_took_is_left_out_silently(self, tmp_path: Path) -> None:
        path = write_pdparams(tmp_path / "w.pdparams", to_reference_state(Marked()))
        net = Marked()
        net.facts = BackboneFacts("Marked", frozenset({"fc.weight", "fc.bias"}))  # type: ignore[assignment]
        del net.fc
        assert load_weights(net, path).complete

    @pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
    def test_plain_layers_fill_the_ones_inside_others(self, tmp_path: Path, suffix: str) -> None:
        plain, gated = Marked(marked=False), Marked(marked=False)
        gated.conv.bn, gated.fc = MetaBIN(4), Suffixed(gated.fc, "tanh", nn.Tanh())
        nn.init.normal_(plain.conv.bn.bias)
        path = tmp_path / f"w{suffix}"
        if suffix == ".pdparams":
            write_pdparams(path, to_reference_state(plain))
        else:
            save_file(plain.state_dict(), path)
        report = load_weights(gated, path)
        assert equal(gated.conv.bn.batch_norm, plain.conv.bn)
        assert equal(gated.fc.origin_layer, plain.fc)
        assert not report.unexpected
        own = {"gate.gate", "instance_norm.weight", "instance_norm.bias"}
        assert set(report.missing) == {f"conv.bn.{name}" for name in own}
        again = write_pdparams(tmp_path / "again.pdparams", to_reference_state(gated))
        assert load_weights(gated, again).complete


class TestFiles:
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_whole_model_of_the_reference(self, tmp_path: Path, protocol: int) -> None:
        model, other = build_model(ARCH), build_model(ARCH)
        write_pdparams(tmp_path / "latest.pdparams", to_reference_state(model), protocol)
        report = load_weights(other, tmp_path / "latest")  # the suffix may be left out, as in the reference
        assert report.complete
        assert equal(model, other)

    def test_backbone_alone_and_the_other_way_round(self, tmp_path: Path) -> None:
        net, model = build_backbone(CONV4), build_model(ARCH)
        report = load_weights(model, write_pdparams(tmp_path / "net.pdparams", to_reference_state(net)))
        assert equal(net, model.backbone)
        assert sorted(report.missing) == ["head.weight", "neck.fc.bias", "neck.fc.weight"]
        whole = write_pdparams(tmp_path / "whole.pdparams", to_reference_state(build_model(ARCH)))
        assert load_weights(net, whole).missing == []
        save_file(model.state_dict(), tmp_path / "whole.safetensors")
        load_weights(net, tmp_path / "whole.safetensors")
        assert equal(net, model.backbone)

    def test_checkpoint_folder_and_torch_files(self, tmp_path: Path) -> None:
        model = build_model(ARCH)
        folder = tmp_path / "best_model"
        folder.mkdir()
        with pytest.raises(UserError, match=r"holds no model\.safetensors"):
            load_weights(model, folder)
        save_file(model.state_dict(), folder / "model.safetensors")
        torch.save(
            {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}},
            tmp_path / "m.pth",
        )
        for source in (folder, tmp_path / "m.pth", tmp_path / "m"):
            other = build_model(ARCH)
            assert load_weights(other, source).complete
            assert equal(model, other)

    def test_what_does_not_fit_is_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        more_classes = {**ARCH, "Head": {"name": "ArcMargin", "embedding_size": 6, "class_num": 9}}
        save_file(
            {**build_model(more_classes).state_dict(), "extra": torch.zeros(1)}, tmp_path / "m.safetensors"
        )
        model = build_model(ARCH)
        head = model.head.weight.clone()  # type: ignore[union-attr,operator]
        with caplog.at_level(logging.INFO, "lookalike"):
            report = load_weights(model, tmp_path / "m.safetensors")
        assert report.mismatched == [("head.weight", (4, 6), (9, 6))]
        assert report.unexpected == ["extra"]
        assert torch.equal(model.head.weight, head)  # type: ignore[union-attr,arg-type]
        assert "head.weight: [4, 6] here, [9, 6] in the file" in caplog.text
        assert "1 not in the model:" in report.table()

    def test_the_classifier_behind_the_stop_layer_is_left_out_silently(self, tmp_path: Path) -> None:
        whole = build_backbone({"name": "PPLCNet_x0_25", "class_num": 11, "class_expand": 16})
        path = write_pdparams(tmp_path / "w.pdparams", to_reference_state(whole))
        arch = {
            "Backbone": {"name": "PPLCNet_x0_25", "class_expand": 16, "pretrained": str(path)},
            "BackboneStopLayer": {"name": "flatten"},
        }
        model = build_model(arch)
        assert load_weights(model, path).complete
        last = whole.state_dict()["last_conv.weight"]
        assert torch.equal(model.backbone.state_dict()["last_conv.weight"], last)
        skipped = build_model(arch, pretrained=False)
        assert not torch.equal(skipped.backbone.state_dict()["last_conv.weight"], last)

    def test_timm_keys(self, tmp_path: Path) -> None:
        import timm

        net = timm.create_model("test_resnet", num_classes=10)
        save_file(net.state_dict(), tmp_path / "net.safetensors")
        model = build_model(
            {"Backbone": {"name": "timm/test_resnet", "pretrained": str(tmp_path / "net.safetensors")}}
        )
        found = model.backbone.state_dict()
        assert all(torch.equal(value, net.state_dict()[key]) for key, value in found.items())
        assert load_weights(model, tmp_path / "net.safetensors").complete

    def test_nothing_that_fits_is_an_error(self, tmp_path: Path) -> None:
        save_file({"a": torch.zeros(1), "b": torch.zeros(2)}, tmp_path / "m.safetensors")
        with pytest.raises(
            UserError, match=r"no weight of the file fits the model; it holds a, b, the model backbone"
        ):
            load_weights(build_model(ARCH), tmp_path / "m.safetensors")

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol")
    def test_files_that_are_none(self, tmp_path: Path) -> None:
        model = build_model(ARCH)
        with pytest.raises(UserError, match="there are no weights"):
            load_weights(model, tmp_path / "absent")
        for name, message in (
            ("broken.safetensors", "is not a safetensors file"),
            ("broken.pdparams", "is not a file of Paddle weights"),
            ("broken.pth", "not read, because it is no plain file of tensors"),
        ):
            (tmp_path / name).write_bytes(b"\x80\x04nonsense")
            with pytest.raises(UserError, match=message):
                load_weights(model, tmp_path / name)
        (tmp_path / "list.pdparams").write_bytes(pickle.dumps([1]))
        with pytest.raises(UserError, match="holds a list"):
            load_weights(model, tmp_path / "list.pdparams")
        torch.save([1, 2], tmp_path / "list.pth")
        with pytest.raises(UserError, match="holds no named tensors"):
            load_weights(model, tmp_path / "list.pth")

    def test_bfloat16(self, tmp_path: Path) -> None:
        values = torch.tensor([1.5, -2.0, 3.390625])
        bits = values.bfloat16().view(torch.uint16).numpy()
        np.testing.assert_array_equal(bfloat16_to_float32(bits), values.numpy())
        path = write_pdparams(tmp_path / "w.pdparams", {"w": bits, "pair": ("name", np.zeros(2))})
        read = read_pdparams(path)
        np.testing.assert_array_equal(read["w"], values.numpy())
        assert read["pair"].shape == (2,)


class Calls:
    """A pickle that calls something when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "evil",
    [
        Calls(os.mkdir, "PWNED"),
        Calls(exec, "import os; os.mkdir('PWNED')"),
        Calls(getattr, "x", "upper"),
        Calls(functools.partial, os.mkdir, "PWNED"),
        Calls(np.fromfile, "PWNED"),
        Calls(np.dtype, "O"),
        np.array([Calls(os.mkdir, "PWNED")], dtype=object),
        collections.OrderedDict(a=Calls(os.mkdir, "PWNED")),
    ],
    ids=["call", "code", "attribute", "partial", "file", "objects", "object array", "nested"],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_runs_when_a_file_is_read(
    evil: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps({"w": np.zeros(1), "evil": evil}, protocol))
    with pytest.raises(UserError, match="not read, because it asks for"):
        read_pdparams(tmp_path / "w.pdparams")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pdparams"]


def test_other_codecs_are_refused(tmp_path: Path) -> None:
    import _codecs

    data = pickle.dumps({"w": Calls(_codecs.encode, "x", "rot13")}, 2)
    (tmp_path / "w.pdparams").write_bytes(data)
    with pytest.raises(UserError, match="the codec rot13"):
        read_pdparams(tmp_path / "w.pdparams")


class TestTable:
    def test_pretrained_true_asks_the_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        monkeypatch.setattr("lookalike.model.build.load_weights", lambda _model, source: asked.append(source))
        build_backbone({"name": "PPLCNet_x0_25", "pretrained": True})
        build_backbone(
            {"name": "PPLCNetV2_base_ShiTu", "pretrained": True, "use_ssld": True}, stop_layer="stem"
        )
        build_backbone({"name": "PPLCNet_x0_25", "pretrained": False, "use_ssld": True})
        assert [source.rsplit("/", 1)[1] for source in asked] == [
            "PPLCNet_x0_25_pretrained.pdparams",
            "PPLCNetV2_base_ssld_pretrained.pdparams",
        ]
        with pytest.raises(UserError, match=r"Arch\.Backbone: no pretrained weights are published for Conv4"):
            build_backbone({"name": "Conv4", "pretrained": True})
        with pytest.raises(UserError, match="must be true, false, a path or a URL"):
            build_backbone({"name": "Conv4", "pretrained": 3})

    def test_addresses_by_the_rules_of_the_reference(self) -> None:
        def file(name: str, **options: Any) -> str:
            return pretrained_url(name, **options).rsplit("/", 1)[1].removesuffix(".pdparams")

        assert file("ResNet50_vd", ssld=True, ssld_stage1=True) == "ResNet50_vd_ssld_stage1_pretrained"
        assert file("PPHGNetV2_B0", ssld=True) == "PPHGNetV2_B0_ssld_pretrained"
        swin = "SwinTransformer_large_patch4_window7_224"
        assert file(swin) == f"{swin}_22kto1k_pretrained"
        assert file(swin, imagenet22k=True) == f"{swin}_22k_pretrained"
        assert file(swin, imagenet22kto1k=False) == f"{swin}_pretrained"
        with pytest.raises(UserError, match="needs use_ssld"):
            pretrained_url("ResNet50", ssld_stage1=True)
        with pytest.raises(UserError, match="exclude each other"):
            pretrained_url("ResNet50", ssld=True, imagenet22k=True)
        with pytest.raises(UserError, match="only one set of weights is published for CLIP_vit_base"):
            pretrained_url("CLIP_vit_base_patch16_224", ssld=True)

    def test_published_names(self) -> None:
        newest = published_url("vehicle_cls_ResNet50_CompCars")
        assert newest.endswith("/vehicle_cls_ResNet50_CompCars_v1.2_pretrained.pdparams")
        assert published_url("vehicle_cls_ResNet50_CompCars_v1.1") != newest
        assert published_url("general_PPLCNetV2_base_pretrained_v1.0") == published_url(
            "general_PPLCNetV2_base"
        )
        assert published_url("ResNet50") == pretrained_url("ResNet50")
        with pytest.raises(UserError, match=r"did you mean 'general_PPLCNetV2_base'\?.*convert --list"):
            published_url("general_PPLCNetV2_bass")
        assert published_url("reid_baseline_Market1501").endswith(
            "/rec/reid/pretrain/baseline_pretrained.pdparams"
        )
        assert len(published("recognition")) == 15
        assert all(url.startswith("https://") for url in published().values())


def test_pytorch_files_cannot_run_anything_either(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(1), "evil": Calls(os.mkdir, str(tmp_path / "PWNED"))}, buffer)
    (tmp_path / "w.pth").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="no plain file of tensors"):
        load_weights(build_model(ARCH), tmp_path / "w.pth")
    assert not (tmp_path / "PWNED").exists()
