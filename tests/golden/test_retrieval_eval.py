"""The whole evaluator of the reference, from features to figures, against `evaluate`."""

from __future__ import annotations

import numpy as np
import torch

from lookalike.evaluation import build_metrics, evaluate
from tests.evaluation.loaders import Vectors
from tests.golden import golden
from tests.retrieval.oracle import naive


def loaders(case: dict) -> tuple[Vectors, Vectors | None]:
    given = golden.under(golden.arrays("retrieval_eval"), f"{case['id']}/in")

    def side(letter: str) -> Vectors:
        camera = given.get(f"{letter}_cam")
        return Vectors(
            given[f"{letter}_feat"], given[f"{letter}_label"], None if camera is None else camera[:, 0]
        )

    return (side("q"), side("g")) if "q_feat" in given else (side("g"), None)


def figures(case: dict, reference_behaviour: bool) -> dict[str, float]:
    ks = {"topk": case["topk"]}
    arguments = dict(case["args"])
    query, gallery = loaders(case)
    return evaluate(
        lambda images: {"features": images, "backbone": 2 * images + 1},
        query,
        gallery,
        build_metrics([{"Recallk": ks}, "mAP", "mINP", {"Precisionk": ks}]),
        feature_from=arguments.pop("retrieval_feature_from", "features"),
        block_size=arguments.pop("sim_block_size", None),
        reference_behaviour=reference_behaviour,
        **arguments,
    ).metrics


@golden.parametrize("retrieval_eval")
def test_reference(case: dict) -> None:
    store, name = golden.arrays("retrieval_eval"), case["id"]
    actual = figures(case, reference_behaviour=True)
    best, worst = golden.under(store, f"{name}/out_ties_best"), golden.under(store, f"{name}/out_ties_worst")
    if best:  # tied similarities: every order of them is right, so any figure between the bounds
        for key in best:
            assert worst[key] - case["atol"] <= actual[key] <= best[key] + case["atol"], key
        return
    expected = golden.under(store, f"{name}/out") | golden.under(store, f"{name}/out_shim")
    assert expected
    for key, value in expected.items():
        golden.assert_close(actual[key], value, case["rtol"], case["atol"], key)


@golden.parametrize("retrieval_eval")
def test_ours(case: dict) -> None:
    """The same features by the definitions: no self match, no junk, means over queries."""
    if case["args"].get("re_ranking"):
        figures(case, reference_behaviour=False)
        return
    query, gallery = loaders(case)
    one_set = gallery is None
    gallery = query if gallery is None else gallery
    arguments = case["args"]

    def prepared(side: Vectors) -> np.ndarray:
        x = torch.from_numpy(side.features)
        x = 2 * x + 1 if arguments.get("retrieval_feature_from") == "backbone" else x
        if arguments.get("feature_normalize", True):
            x = torch.nn.functional.normalize(x)
        how = arguments.get("feature_binarize")
        return (x if how is None else x.sign() if how == "sign" else x.round() * 2 - 1).numpy()

    names = {f"recall{k}": f"recall@{k}" for k in case["topk"]} | {"mAP": "mAP", "mINP": "mINP"}
    expected, _ = naive(
        prepared(query), query.labels[:, 0], prepared(gallery), gallery.labels[:, 0],
        query.cameras, gallery.cameras,
        same=(lambda q, g: q == g) if one_set else None, metrics=list(names.values()),
    )  # fmt: skip
    actual = figures(case, reference_behaviour=False)
    for key, name in names.items():
        golden.assert_close(actual[key], expected[name], 1e-6, 1e-6, key)
