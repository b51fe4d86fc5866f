"""Necks that pool maps or fuse several of them, lists of necks, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lookalike import Recipe
from lookalike.core.component import Place, Section, SectionList
from lookalike.core.errors import UserError
from lookalike.deploy import Embedder
from lookalike.deploy.export import export
from lookalike.model import build_model, build_neck
from lookalike.training.trainer import train
from tests.tiny import draw_pictures, recipe_values

IMAGES = torch.randn(2, 3, 32, 32)


def conv4(**more: Any) -> dict[str, Any]:
    return {"name": "Conv4", "widths": [4, 6, 8], **more}


class TestGeM:
    def test_in_a_loop(self) -> None:
        neck = build_neck({"GeM": {"p": 2.5, "eps": 0.1}})
        maps = torch.randn(2, 3, 4, 5)
        pooled = neck(maps)
        assert pooled.shape == (2, 3)
        for n in range(2):
            for c in range(3):
                values = [max(float(v), 0.1) ** 2.5 for v in maps[n, c].flatten()]
                expected = (sum(values) / len(values)) ** (1 / 2.5)
                assert pooled[n, c].item() == pytest.approx(expected, rel=1e-5)

    def test_average_and_maximum_are_its_ends(self) -> None:
        maps = torch.rand(2, 3, 4, 4) + 0.1
        torch.testing.assert_close(build_neck({"GeM": {"p": 1}})(maps), maps.mean(dim=(2, 3)))
        torch.testing.assert_close(
            build_neck({"GeM": {"p": 200.0}})(maps), maps.amax(dim=(2, 3)), rtol=0.02, atol=0
        )

    def test_p_learns_without_decay_unless_told_otherwise(self) -> None:
        neck = build_neck("GeM")
        neck(torch.rand(2, 3, 4, 4)).sum().backward()
        assert neck.p.grad is not None  # type: ignore[union-attr]
        assert neck.p.grad.abs() > 0  # type: ignore[union-attr,operator]
        assert neck.p.regularizer == ("L2", 0.0)  # type: ignore[union-attr]
        assert not build_neck({"GeM": {"learn_p": False}}).p.requires_grad  # type: ignore[union-attr]

    def test_half_precision_does_not_overflow(self) -> None:
        maps = (torch.rand(1, 2, 4, 4) * 1000).half()
        neck = build_neck({"GeM": {"p": 3}})
        torch.testing.assert_close(neck(maps), neck(maps.float()))
        with pytest.raises(UserError, match=r"GeM pools maps \(N, C, H, W\), but is given 2 dimensions"):
            neck(torch.rand(2, 3))
        with pytest.raises(UserError, match="needs a p above 0, got 0"):
            build_neck({"GeM": {"p": 0}})


def pyramid(**more: Any) -> dict[str, Any]:
    return {"FPN": {"in_channels": [4, 6, 8], "embedding_size": 5, "out_channels": 3, **more}}


def test_pyramid_step_by_step() -> None:
    neck = build_neck(pyramid())
    fine, middle, coarse = torch.randn(2, 4, 16, 16), torch.randn(2, 6, 8, 8), torch.randn(2, 8, 4, 4)
    lateral, smooth = neck.lateral, neck.smooth
    t3 = lateral[2](coarse)  # type: ignore[index,operator]
    t2 = lateral[1](middle) + t3.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)  # type: ignore[index,operator]
    t1 = lateral[0](fine) + t2.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)  # type: ignore[index,operator]
    pooled = torch.cat([smooth[i](t).mean(dim=(2, 3)) for i, t in enumerate((t1, t2, t3))], dim=1)  # type: ignore[index,operator]
    expected = F.linear(pooled, neck.fc.weight, neck.fc.bias)  # type: ignore[union-attr,arg-type]
    torch.testing.assert_close(neck([fine, middle, coarse]), expected)
    for parameter in neck.parameters():
        parameter.grad = None
    neck([fine, middle, coarse]).square().sum().backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())
    with pytest.raises(UserError, match=r"in_channels for 3 maps .* but is given \(8, 4, 4\)"):
        neck([coarse])


@pytest.mark.parametrize("pool", ["average", "max", "gem"])
def test_a_model_with_a_pyramid(pool: str) -> None:
    block = {
        "Backbone": conv4(return_stages=True),
        "Neck": [pyramid(pool=pool), {"BNNeck": {"num_features": 5}}],
        "Head": {"FC": {"embedding_size": 5, "class_num": 3}},
    }
    model = build_model(block).train()
    outputs = model(IMAGES, torch.tensor([0, 2]))
    assert (outputs["features"].shape, outputs["logits"].shape) == ((2, 5), (2, 3))
    outputs["logits"].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    assert torch.equal(model.embed(IMAGES), model(IMAGES)["features"])
    assert model.embedding_size((3, 32, 32)) == 5


def test_odd_maps_meet() -> None:
    block = {"Backbone": conv4(return_stages=[0, 1, 2]), "Neck": pyramid()}
    assert build_model(block).eval()(torch.randn(1, 3, 41, 27))["features"].shape == (1, 5)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"Neck": pyramid()},
            r"Neck \(FPN\) reads several layers of Arch.Backbone \(Conv4\): name them there",
        ),
        (
            {"Backbone": conv4(return_stages=[0, 1]), "Neck": pyramid()},
            r"takes \[4, 6, 8\] channels, but the layers of .* have blocks\[0\]: 4, blocks\[1\]: 6",
        ),
        (
            {"Backbone": conv4(return_patterns=["blocks[0]", "flatten"]), "Neck": pyramid()},
            "takes maps, but the layer 'flatten' of .* gives none",
        ),
        ({"Neck": "GeM"}, r"Arch.Neck \(GeM\) pools maps, but Arch.Backbone \(Conv4\) gives 8 features: cut"),
        (
            {"Neck": ["Tanh", {"FC": {"embedding_size": 9, "class_num": 4}}]},
            r"Arch\.Neck\[1\]\.?\w* \(FC\) takes 9 features, but Arch.Neck\[0\] \(Tanh\) gives 8",
        ),
        ({"Neck": ["Tanh", {"FCC": {}}]}, r"Arch\.Neck\[1\]\.FCC: unknown neck 'FCC'"),
    ],
)
def test_what_does_not_fit(block: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model({"Backbone": conv4(), **block}, image_shape=(3, 32, 32))


def test_a_list_of_necks() -> None:
    fc = {"FC": {"embedding_size": 8, "class_num": 4}}
    block = {"Backbone": conv4(), "BackboneStopLayer": {"name": "blocks"}, "Neck": ["GeM", fc]}
    model = build_model({**block, "Head": {"FC": {"embedding_size": 4, "class_num": 3}}})
    assert model(IMAGES)["features"].shape == (2, 4)
    assert {"neck.0.p", "neck.1.fc.weight"} <= set(model.state_dict())
    with pytest.raises(UserError, match=r"Arch\.Head.* takes 5 features, but Arch\.Neck\[1\].* gives 4"):
        build_model({**block, "Head": {"FC": {"embedding_size": 5, "class_num": 3}}})
    necks = SectionList(
        [
            "GeM",
            Section(
                {"FC": Section({"embedding_size": 7, "class_num": 4})}, Place("Arch.Neck[1]", "r.yaml", 6)
            ),
        ]
    )
    with pytest.raises(
        UserError, match=r"^r\.yaml:6: Arch\.Neck\[1\].* takes 7 features, but Arch\.Neck\[0\]"
    ):
        build_model({**block, "Neck": necks})


def test_it_trains_and_exports(tmp_path: Path) -> None:
    pictures = draw_pictures(tmp_path / "data")
    values = recipe_values(pictures, tmp_path, epochs=1)
    values["Arch"]["Backbone"] = {
        "name": "PPLCNet_x0_25",
        "return_stages": [2, 3, 4],
        "freeze_before": "blocks2",
    }
    values["Arch"]["BackboneStopLayer"] = {"name": "blocks6"}
    values["Arch"]["Neck"] = [
        {"FPN": {"in_channels": [32, 64, 128], "embedding_size": 16, "out_channels": 8, "pool": "gem"}}
    ]
    recipe = Recipe.from_dict(values)
    train(recipe)
    recipe.global_.pretrained_model = str(tmp_path / "RecModel" / "latest")
    result = export(recipe, tmp_path / "model")
    assert result.size == 16
    some = sorted((pictures / "pictures").rglob("*.png"))[:3]
    found = Embedder.from_checkpoint(tmp_path / "RecModel" / "latest").encode(some)
    np.testing.assert_allclose(Embedder(tmp_path / "model").encode(some), found, atol=1e-5)
    # a layer on the way may be what is exported
    recipe.tree["Arch"]["infer_output_key"] = "blocks4"
    assert export(recipe, tmp_path / "layer").size == 32
