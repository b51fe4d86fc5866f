"""Re-ranking distances, and the normalise and binarise steps of an evaluation."""

from __future__ import annotations

import numpy as np
import torch

from lookalike.evaluation import binarise, normalise
from lookalike.retrieval import evaluate_retrieval
from lookalike.retrieval.rerank import rerank_distances
from tests.golden import golden

BINARISE = ("round", "sign")


@golden.parametrize("rerank")
def test_reference(case: dict) -> None:
    store, name = golden.arrays("rerank"), case["id"]
    given, expected = golden.under(store, f"{name}/in"), golden.under(store, f"{name}/out")
    if "query" in given:
        distances = rerank_distances(
            given["query"], given["gallery"], **case["args"], reference_behaviour=True
        )
        golden.assert_close(distances, expected["dist"], case["rtol"], case["atol"])
    elif "x" in given:
        x = torch.from_numpy(given["x"])
        # only the name and the note of such a case say which step it is
        kind = next((how for how in BINARISE if how in f"{name} {case['note']}"), None)
        actual = binarise(x, kind) if kind else normalise(x)
        golden.assert_close(actual, expected["y"], case["rtol"], case["atol"])
    else:
        any_order_of_ties(given, expected)


def any_order_of_ties(given: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """The reference orders equal similarities as its sort leaves them; ours orders the unequal ones alike.

    And with every item of the gallery as the positive in turn, ours gives the last place among its equals.
    """
    for key, order in expected.items():
        similarities = given[key.replace("out/", "").replace("order_descending", "sim")]
        labels = np.arange(similarities.shape[1])
        for row, places in zip(similarities, order, strict=True):
            assert sorted(places) == labels.tolist()
            result = evaluate_retrieval([[1.0]], [0], row[:, None], labels, metrics=["mAP"], top_k=len(row))
            np.testing.assert_array_equal(row[result.top_k.indices[0]], row[places])
            for item in (0, len(row) // 2, len(row) - 1):
                one = evaluate_retrieval([[1.0]], [item], row[:, None], labels, metrics=["mAP"])
                assert one.first_hit_rank[0] == np.count_nonzero(row >= row[item])
                assert one.first_hit_rank[0] >= 1 + places.tolist().index(item)
