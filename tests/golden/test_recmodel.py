"""Whole models of the reference's recipes: every output at eval, and the margin in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lookalike.model import DistillationModel, RecModel, build_model, to_reference_key
from tests.golden import golden
from tests.golden.reference_arch import ARCHS, build, missing_part


@golden.parametrize("recmodel", missing=missing_part)
def test_recmodel(case: dict[str, Any]) -> None:
    store = golden.arrays("recmodel")
    model = build("recmodel", case)
    batch = torch.from_numpy(golden.weightgen().inputs(case["input_seed"], case["input_shape"]))
    np.testing.assert_array_equal(batch.numpy().ravel()[:8], np.float32(case["input_first"]))
    given = f"{case['id']}/in/label"
    # the reference hands the labels to the head at eval too, where AdaMargin alone makes use of them
    labels = torch.from_numpy(store[given]) if given in store.files else None
    with torch.inference_mode():
        outputs = model(batch, labels)
        embedding = model.embed(batch)
    single: RecModel = model
    if isinstance(model, DistillationModel):
        single = model.student
        embedded, outputs = outputs[model.student_name]["features"], by_model(outputs)
    else:
        embedded = outputs["features"]
    assert set(outputs) == {key.replace("/", ".") for key in case["output_keys_in_order"]}
    for key, expected in golden.under(store, f"{case['id']}/out").items():
        output = outputs[key.replace("/", ".")].numpy()
        if output.shape != expected.shape:
            output = output[:, : expected.shape[1]]
        golden.assert_close_to_max(output, expected, case["rtol_of_max"], key)
    torch.testing.assert_close(embedding, embedded.flatten(1))
    if f"{case['id']}/train/logits" in store.files:
        assert single.head is not None
        features = torch.from_numpy(store[f"{case['id']}/out/features"])
        with torch.no_grad():
            logits = single.head.train()(features, labels)
        expected = store[f"{case['id']}/train/logits"]
        golden.assert_close_to_max(logits.numpy(), expected, case["rtol_of_max"], "logits in training")


def by_model(outputs: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Outputs of several models in one dict: `Student.features`."""
    return {f"{name}.{key}": value for name, given in outputs.items() for key, value in given.items()}


@pytest.mark.parametrize("kind", ["dml", "udml"])
def test_models_of_a_distillation_have_the_keys_of_the_reference(kind: str) -> None:
    """`Teacher.` and `Student.` before the keys of the model that both are."""
    single = ARCHS["GeneralRecognition/GeneralRecognition_PPLCNet_x2_5.yaml"]
    block = ARCHS[f"GeneralRecognition/GeneralRecognition_PPLCNet_x2_5_{kind}.yaml"]
    with torch.device("meta"):
        keys = {theirs for theirs, _ in to_reference_key(build_model(single)).values()}
        both = {theirs for theirs, _ in to_reference_key(build_model(block)).values()}
    assert both == {f"{name}.{key}" for name in ("Teacher", "Student") for key in keys}


def test_a_head_that_reads_the_backbone_beside_a_neck_that_projects_it() -> None:
    """CCSSL: class scores of the backbone, and an embedding of length 1 that its losses contrast."""
    model = build_model(ARCHS["ssl/CCSSL/FixMatchCCSSL_cifar10_4000_4gpu.yaml"], reference_behaviour=True)
    assert isinstance(model, RecModel)
    outputs = model.eval()(torch.randn(2, 3, 32, 32))
    shapes = {key: tuple(value.shape) for key, value in outputs.items()}
    assert shapes["features"] == shapes["neck"] == (2, 64)
    assert shapes["logits"] == (2, 10)
    torch.testing.assert_close(outputs["features"].norm(dim=1), torch.ones(2))
    assert model.head is not None
    assert torch.equal(outputs["logits"], model.head(outputs["backbone"]))
