"""Whole models of the reference's recipes: every output at eval, and the margin in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.golden import golden
from tests.golden.reference_arch import build, missing_part


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
    assert set(outputs) == set(case["output_keys_in_order"])
    for key, expected in golden.under(store, f"{case['id']}/out").items():
        output = outputs[key].numpy()
        if output.shape != expected.shape:
            output = output[:, : expected.shape[1]]
        golden.assert_close_to_max(output, expected, case["rtol_of_max"], key)
    torch.testing.assert_close(embedding, outputs["features"].flatten(1))
    if f"{case['id']}/train/logits" in store.files:
        assert model.head is not None
        features = torch.from_numpy(store[f"{case['id']}/out/features"])
        with torch.no_grad():
            logits = model.head.train()(features, labels)
        expected = store[f"{case['id']}/train/logits"]
        golden.assert_close_to_max(logits.numpy(), expected, case["rtol_of_max"], "logits in training")
