"""convert, from the command line."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lookalike.model import build_backbone, load_weights
from tests.cli.conftest import Command
from tests.golden import golden


def test_weights_of_a_whole_model(
    command: Command, recipe_file: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    told = command("convert", checkpoint / "model.safetensors", out, "-c", recipe_file, "--json").json()
    weights, before = load_file(out), load_file(checkpoint / "model.safetensors")
    assert told["matched"] == told["tensors"] == len(before)
    assert told["missing"] == []
    assert all(torch.equal(weights[name], value) for name, value in before.items())


def test_a_pth_file_of_a_backbone(command: Command, tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = build_backbone({"name": "PPLCNet_x0_25"}).state_dict()
    torch.save(state, tmp_path / "in.pth")
    told = command("convert", tmp_path / "in.pth", tmp_path / "out.safetensors", "--arch", "PPLCNet_x0_25")
    assert told.code == 0
    assert f"{len(state)} tensors from" in told.out
    written = load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(written[name], value) for name, value in state.items())


def test_a_pdparams_of_the_reference(command: Command, tmp_path: Path) -> None:
    folder = golden.FOLDER / "pdparams"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    about = json.loads((folder / "expected.json").read_text())
    out = tmp_path / "out.safetensors"
    arguments = [f"-o{key}={about[key]}" for key in ("class_expand", "class_num")]
    words = (folder / "state_protocol4.pdparams", out, "--arch", about["model"], *arguments, "--json")
    told = command("convert", *words).json()
    assert told["missing"] == []
    model = build_backbone(
        {key: about[key] for key in ("class_expand", "class_num")} | {"name": about["model"]}
    )
    assert set(load_file(out)) == set(model.state_dict())
    directly, converted = model, copy.deepcopy(model)
    load_weights(directly, folder / "state_protocol4.pdparams")
    load_weights(converted, out)
    assert all(
        torch.equal(value, directly.state_dict()[name]) for name, value in converted.state_dict().items()
    )


def test_what_a_file_lacks_is_left_out_and_told(command: Command, tmp_path: Path) -> None:
    state = build_backbone({"name": "PPLCNet_x0_25"}).state_dict()
    first = next(iter(state))
    save_file({name: value for name, value in state.items() if name != first}, tmp_path / "in.safetensors")
    words = (tmp_path / "in.safetensors", tmp_path / "out.safetensors", "--arch", "PPLCNet_x0_25", "--json")
    assert command("convert", *words).json()["missing"] == [first]
    assert set(load_file(tmp_path / "out.safetensors")) == set(state) - {first}


def test_published_weights_are_listed_and_named(command: Command, tmp_path: Path) -> None:
    listed = command("convert", "--list", "--json").json()["weights"]
    assert "general_PPLCNetV2_base_v1.0" in listed["recognition"]
    assert "PaddleClas/ResNet50  (imagenet)" in command("convert", "--list").out
    out = tmp_path / "out.safetensors"
    told = command("convert", "PaddleClas/general_PPLCNetV2_bass", out, "--arch", "PPLCNetV2_base").sentence()
    assert "did you mean 'general_PPLCNetV2_base'" in told
    assert "SOURCE TARGET" in command("convert").sentence()


def test_mistakes_are_one_sentence(
    command: Command, recipe_file: Path, checkpoint: Path, tmp_path: Path
) -> None:
    source, out = checkpoint / "model.safetensors", tmp_path / "out.safetensors"
    assert "--arch" in command("convert", source, out).sentence()
    assert (
        "key=value"
        in command("convert", source, out, "--arch", "PPLCNet_x0_25", "-o", "class_num").sentence()
    )
    assert (
        "must end in .safetensors"
        in command("convert", source, tmp_path / "x.bin", "--arch", "PPLCNet_x0_25").sentence()
    )
    assert "did you mean" in command("convert", source, out, "--arch", "PPLCNet_x0_2").sentence()
    assert "gone.pth" in command("convert", tmp_path / "gone.pth", out, "--arch", "PPLCNet_x0_25").sentence()
    bad = tmp_path / "bad.pdparams"
    bad.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    assert "bad.pdparams" in command("convert", bad, out, "--arch", "PPLCNet_x0_25").sentence()
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert (
        "no weight of the file fits"
        in command("convert", tmp_path / "other.safetensors", out, "-c", recipe_file).sentence()
    )
    assert not out.exists()
