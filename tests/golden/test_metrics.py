"""The metrics of the reference on similarity matrices, and our own on the same ones."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.evaluation.metrics import figures_of, metrics
from lookalike.retrieval import evaluate_retrieval, parse_metric
from lookalike.retrieval.reference import reference_metric
from tests.golden import golden
from tests.retrieval.oracle import naive

NAMES = ("Recallk", "mAP", "mINP", "Precisionk")


def figures(case: dict) -> dict[str, str]:
    arguments = {"Recallk": {"topk": case["topk"]}, "Precisionk": {"topk": case["topk"]}}
    return figures_of([metrics.build({name: arguments.get(name, {})}) for name in NAMES])


@golden.parametrize("metrics")
def test_reference(case: dict) -> None:
    store, name = golden.arrays("metrics"), case["id"]
    given = golden.under(store, f"{name}/in")
    relevant = given["q_label"] == given["g_label"].T
    if "keep" in given:
        relevant &= given["keep"]
    expected = golden.under(store, f"{name}/out") | golden.under(store, f"{name}/out_shim")
    assert expected
    names = figures(case)
    for key, value in expected.items():
        actual = reference_metric(given["sim"], relevant, parse_metric(names[key]))
        golden.assert_close(actual, value, case["rtol"], case["atol"], key)


@golden.parametrize("metrics")
def test_ours(case: dict) -> None:
    """The same similarities, by the definitions. A masked item is junk: of one camera with its query."""
    given = golden.under(golden.arrays("metrics"), f"{case['id']}/in")
    query, gallery = np.eye(len(given["sim"]), dtype=np.float32), np.ascontiguousarray(given["sim"].T)
    q_label, g_label = given["q_label"][:, 0], given["g_label"][:, 0]
    wanted = list(figures(case).values())
    keep = given.get("keep", np.ones_like(given["sim"], dtype=bool))
    checked = 0
    for q in range(len(query)):  # one by one, so that any mask can be written as cameras
        masked = ~keep[q] & (g_label == q_label[q])
        data = (query[q : q + 1], q_label[q : q + 1], gallery, g_label, [1], masked.astype(int))
        expected, without = naive(*data, metrics=wanted)
        if without:
            with pytest.raises(ValueError, match="none of the 1 queries"):
                evaluate_retrieval(*data, metrics=wanted)
            continue
        assert dict(evaluate_retrieval(*data, metrics=wanted)) == pytest.approx(expected)
        checked += 1
    whole, without = naive(query, q_label, gallery, g_label, metrics=wanted)
    if "keep" not in given and checked:
        result = evaluate_retrieval(query, q_label, gallery, g_label, metrics=wanted)
        assert dict(result) == pytest.approx(whole)
        assert result.queries_without_positive == without
