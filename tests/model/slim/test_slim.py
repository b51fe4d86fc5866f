"""Models that were made smaller: how much goes, what stays, and that a file brings it back bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import save_file

from lookalike.core.errors import UserError
from lookalike.model import RecModel, build_rec_model, load_weights
from lookalike.model.slim.pruning import prune
from lookalike.model.slim.quantisation import quantise, without_rounding
from lookalike.model.slim.quantisers import Quantiser
from lookalike.model.slim.size import size_of
from lookalike.model.slim.structure import metadata_of, read_structure

SHAPE = (3, 32, 32)
ARCH: dict[str, Any] = {
    "name": "RecModel",
    "Backbone": {"name": "PPLCNet_x0_25"},
    "BackboneStopLayer": {"name": "flatten"},
    "Neck": {"name": "FC", "embedding_size": 1280, "class_num": 16},
}


def network() -> RecModel:
    torch.manual_seed(0)
    return build_rec_model(ARCH, pretrained=False).eval()


def seen(model: RecModel) -> RecModel:
    """The model after two batches in training, which set the ranges of its quantisers."""
    model.train()
    with torch.no_grad():
        for seed in range(2):
            model.embed(torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(seed)))
    return model.eval()


@pytest.mark.parametrize("importance", ["fpgm", "l1_norm"])
def test_a_share_of_the_filters_goes_and_the_embedding_stays(importance: Literal["fpgm", "l1_norm"]) -> None:
    model, whole = network(), network()
    prune(model, importance, 0.25, SHAPE, multiple_of=1)
    assert model.embed(torch.zeros(2, *SHAPE)).shape == (2, 16)
    kept = {
        name: layer.out_channels / whole.get_submodule(name).out_channels  # type: ignore[operator]
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Conv2d) and ".se." not in name and "last_conv" not in name
    }
    assert kept
    # a layer of 8 filters keeps 6: exactly three quarters of all that are divisible by four
    assert set(kept.values()) == {0.75}
    assert size_of(model, SHAPE).multiply_adds < 0.7 * size_of(whole, SHAPE).multiply_adds


def test_what_is_left_is_the_multiple_below() -> None:
    model = network()
    prune(model, "fpgm", 0.3, SHAPE, multiple_of=8)
    widths = {layer.out_channels for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)}
    # seven tenths of 16, 32, 64, 128 and 1280; the 8 of the stem stay
    assert widths == {8, 16, 40, 88, 896}


def test_filters_of_least_weight_go() -> None:
    model = network()
    stem = model.get_submodule("backbone.conv1.conv")
    assert isinstance(stem, torch.nn.Conv2d)
    before = stem.weight.detach().clone()
    prune(model, "l1_norm", 0.25, SHAPE, multiple_of=1)
    kept = [any(torch.equal(row, left) for left in stem.weight) for row in before]
    assert sum(kept) == 6  # unchanged, only fewer


@pytest.mark.parametrize("kind", ["prune", "quant", "both"])
def test_a_file_brings_the_model_back_bit_for_bit(kind: str, tmp_path: Path) -> None:
    model = network()
    if kind != "quant":
        prune(model, "fpgm", 0.3, SHAPE, multiple_of=1)
    if kind != "prune":
        quantise(model, SHAPE)
    seen(model)
    file = tmp_path / "model.safetensors"
    save_file(model.state_dict(), file, metadata_of(model))
    assert read_structure(file) == model.structure
    again = network()
    load_weights(again, str(file))
    assert again.structure == model.structure
    images = torch.randn(3, *SHAPE)
    with torch.inference_mode():
        assert torch.equal(again.embed(images), model.embed(images))


def test_damaged_structure_is_told(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file(network().state_dict(), file, {"lookalike.structure": '{"widths": {"a": {"b": "c"}}}'})
    with pytest.raises(UserError, match=r"its structure is damaged: widths\.a\.b"):
        load_weights(network(), str(file))
    save_file(network().state_dict(), file, {"lookalike.structure": '{"widths": {"a": {"out_channels": 3}}}'})
    with pytest.raises(UserError, match=r"pruned from another model: this one has no such layer 'a'"):
        load_weights(network(), str(file))


def test_without_rounding_is_the_model_as_it_was() -> None:
    model, rounds = seen(network()), network()
    rounds.load_state_dict(model.state_dict())
    quantise(rounds, SHAPE)
    images = torch.randn(3, *SHAPE)
    seen(rounds).load_state_dict(model.state_dict(), strict=False)
    with torch.inference_mode():
        exact, rounded = model.embed(images), rounds.embed(images)
        assert torch.equal(without_rounding(rounds).embed(images), exact)  # type: ignore[operator]
    assert not torch.equal(rounded, exact)


def test_a_quantiser_gives_256_steps_with_zero_among_them() -> None:
    quantiser = Quantiser(learned_clip=False)
    x = torch.linspace(-1.0, 3.0, 4001)
    rounded = quantiser(x)
    assert len(rounded.unique()) == 256
    assert 0.0 in rounded
    assert (rounded - x).abs().max() <= (4 / 255) * 0.5 * 1.5  # zero lies on a step, so the ends give way
    symmetric = Quantiser(learned_clip=False, symmetric=True)
    assert symmetric(torch.tensor([0.0, 127.0, 1.4])).tolist() == [0.0, 127.0, 1.0]
