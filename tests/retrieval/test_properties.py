"""The figures against a naive loop: random sets with ties, duplicates, empty and single-image classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.retrieval import METRICS as METRIC_FAMILIES
from lookalike.retrieval import accelerator, evaluate_retrieval, ranking
from tests.retrieval.oracle import naive

METRICS = tuple(
    each for name in METRIC_FAMILIES for each in ((f"{name}1", f"{name}3") if name.endswith("@") else (name,))
)
NEVER = settings(max_examples=60, deadline=None)


@st.composite
def sets(draw: Any, tied: bool = True) -> dict[str, Any]:
    queries, gallery = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    classes, dimensions = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # whole numbers: products are exact, so ties are ties, in every order of summation
    values = generator.integers(-2, 3, (queries + gallery, dimensions)).astype(np.float32)
    if draw(st.booleans()):  # duplicates across query and gallery
        values[-(gallery // 2) :] = values[0]
    labels = generator.integers(0, classes, queries + gallery)
    return {
        "query": values[:queries],
        "query_labels": labels[:queries],
        "gallery": values[queries:],
        "gallery_labels": labels[queries:],
        "cameras": generator.integers(0, 3, queries + gallery) if draw(st.booleans()) else None,
        "distractors": generator.random(gallery) < 0.3 if draw(st.booleans()) else None,
        "few": draw(st.sampled_from([0, 2, 16])),
        "block_size": draw(st.sampled_from([None, 1, 3])),
    }


def compare(case: dict[str, Any], exclude_self: Any = False, same: Any = None, **more: Any) -> None:
    count = len(case["query"])
    cameras = case["cameras"]
    data = (case["query"], case["query_labels"], case["gallery"], case["gallery_labels"])
    sides = (None, None) if cameras is None else (cameras[:count], cameras[count:])
    distractors = case["distractors"]
    expected, without = naive(*data, *sides, same=same, metrics=METRICS, distractors=distractors)
    options = {"exclude_self": exclude_self, "block_size": case["block_size"], "distractors": distractors}
    options |= {"metrics": METRICS, **more}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_FEW", case["few"])  # both ways of counting
        if without == count:
            with pytest.raises(ValueError, match="none of the"):
                evaluate_retrieval(*data, *sides, **options)
            return
        result = evaluate_retrieval(*data, *sides, **options)
    assert result.queries_without_positive == without
    assert dict(result) == pytest.approx(expected, abs=1e-12)


def pairs_of(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of query and gallery by pair, and which are of one label."""
    same = case["query_labels"][:, None] == case["gallery_labels"][None, :]
    return case["query"].astype(np.float64) @ case["gallery"].astype(np.float64).T, same


@NEVER
@given(sets(), st.floats(0, 1))
def test_pairs_and_the_nearest(case: dict[str, Any], rate: float) -> None:
    similarities, same = pairs_of(case)
    if not same.any():
        return
    data = (case["query"], case["query_labels"], case["gallery"], case["gallery_labels"])
    result = evaluate_retrieval(*data, pairs=True, block_size=case["block_size"])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(result.best_positive, np.where(same, similarities, -np.inf).max(axis=1))
        others = np.where(same, -np.inf, similarities)
        np.testing.assert_array_equal(result.best_other, others.max(axis=1))
        index = np.where(same.all(axis=1), -1, others.argmax(axis=1))
        np.testing.assert_array_equal(result.nearest_other, index)
    assert (result.pairs.positives.sum(), result.pairs.others.sum()) == (same.sum(), (~same).sum())
    if same.all():
        with pytest.raises(ValueError, match="no pair of two labels"):
            result.pairs.accepted()
        return
    threshold = result.pairs.threshold_at(rate)
    assert (similarities[~same] >= threshold).mean() <= rate
    assert result.pairs.true_accept_rate(rate) == pytest.approx((similarities[same] >= threshold).mean())
    lower = threshold - (result.pairs.edges[1] - result.pairs.edges[0])
    assert threshold == result.pairs.edges[0] or (similarities[~same] >= lower).mean() > rate
    wins = np.sign(similarities[same][:, None] - similarities[~same][None, :])
    assert result.pairs.area() == pytest.approx((wins + 1).mean() / 2)


@NEVER
@given(sets(), st.sampled_from([0.0, 0.01, 0.2, 0.5]))
def test_rates_at_false_accepts(case: dict[str, Any], rate: float) -> None:
    similarities, same = pairs_of(case)
    if not same.any() or same.all():
        return
    data = (case["query"], case["query_labels"], case["gallery"], case["gallery_labels"])
    names = [f"TAR@FAR={rate}", "recall@1", f"DIR@FAR={rate}"]
    unknown = np.flatnonzero(~same.any(axis=1)).tolist()
    if len(unknown) < (1 / rate if rate else 1):  # too few: all serve
        unknown = []
    wrong = [max(similarities[q][~same[q]]) for q in (unknown or range(len(same))) if not same[q].all()]
    if not wrong:
        with pytest.raises(ValueError, match="can be mistaken"):
            evaluate_retrieval(*data, metrics=names)
        return
    result = evaluate_retrieval(*data, metrics=names, block_size=case["block_size"])
    assert list(result) == names
    assert result[names[0]] == result.pairs.true_accept_rate(rate)
    accepted = [t for t in [-np.inf, *np.unique(similarities)] if np.mean(np.array(wrong) > t) <= rate]
    rows = np.flatnonzero(same.any(axis=1))
    found = []
    for q in rows:
        best, other = similarities[q][same[q]].max(), similarities[q][~same[q]].max(initial=-np.inf)
        found.append(best > min(accepted) and best > other)
    assert result[names[2]] == pytest.approx(np.mean(found))
    assert result.per_query[names[2]][rows].tolist() == np.array(found, float).tolist()


@NEVER
@given(sets())
def test_query_against_gallery(case: dict[str, Any]) -> None:
    compare(case)


@NEVER
@given(sets(), st.integers(0, 2**32 - 1))
def test_image_ids_and_positions(case: dict[str, Any], seed: int) -> None:
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 6, len(case["query"])), generator.integers(0, 30, len(case["gallery"]))
    compare(case, exclude_self=ids, same=lambda q, g: ids[0][q] == ids[1][g])
    positions = generator.integers(-1, len(case["gallery"]), len(case["query"]))
    compare(case, exclude_self=positions, same=lambda q, g: positions[q] == g)


@NEVER
@given(sets())
def test_query_is_gallery(case: dict[str, Any]) -> None:
    case |= {"query": case["gallery"], "query_labels": case["gallery_labels"]}
    if case["cameras"] is not None:
        case["cameras"] = np.tile(case["cameras"][-len(case["gallery"]) :], 2)
    compare(case, exclude_self=True, same=lambda q, g: q == g)


@NEVER
@given(sets())
def test_hamming_distance_of_codes(case: dict[str, Any]) -> None:
    bits = {side: (case[side] > 0) for side in ("query", "gallery")}
    signs = {side: np.where(bits[side], 1, -1) for side in bits}
    compare(case | signs)
    for written in (bits, signs, {side: bits[side].astype(np.float16) for side in bits}):
        data = (written["query"], case["query_labels"], written["gallery"], case["gallery_labels"])
        if np.isin(case["query_labels"], case["gallery_labels"]).any():
            as_signs = (signs["query"], case["query_labels"], signs["gallery"], case["gallery_labels"])
            assert dict(evaluate_retrieval(*data, binary=True)) == dict(evaluate_retrieval(*as_signs))


@NEVER
@given(sets())
def test_on_an_accelerator(case: dict[str, Any]) -> None:
    """The tensors' way gives what the arrays' way gives; without a GPU the processor stands in for one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lookalike.retrieval.evaluate.accelerator_of", lambda *_: device)
        patch.setattr(accelerator, "_FEW", case["few"])
        compare(case)
        data = (case["query"], case["query_labels"], case["gallery"], case["gallery_labels"])
        if not np.isin(case["query_labels"], case["gallery_labels"]).any():
            return
        rates = (0.3, 0.05)  # whole numbers tie, so that bins are divided
        there = evaluate_retrieval(*data, pairs=rates, top_k=3, block_size=case["block_size"])
    here = evaluate_retrieval(*data, pairs=rates, top_k=3)
    for name in ("first_hit_rank", "positives", "best_positive", "best_other", "nearest_other"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    np.testing.assert_array_equal(there.top_k.indices, here.top_k.indices)
    np.testing.assert_array_equal(there.pairs.positives, here.pairs.positives)
    np.testing.assert_array_equal(there.pairs.others, here.pairs.others)


@NEVER
@given(sets(), st.integers(0, 2**32 - 1))
def test_order_and_blocks_do_not_matter(case: dict[str, Any], seed: int) -> None:
    if not np.isin(case["query_labels"], case["gallery_labels"]).any():
        return
    generator = np.random.default_rng(seed)
    q, g = generator.permutation(len(case["query"])), generator.permutation(len(case["gallery"]))
    plain = evaluate_retrieval(case["query"], case["query_labels"], case["gallery"], case["gallery_labels"])
    mixed = evaluate_retrieval(
        case["query"][q], case["query_labels"][q], case["gallery"][g], case["gallery_labels"][g],
        block_size=case["block_size"],
    )  # fmt: skip
    assert dict(mixed) == pytest.approx(dict(plain), abs=1e-12)
    np.testing.assert_array_equal(mixed.first_hit_rank, plain.first_hit_rank[q])


def test_real_valued_features_with_copies_under_other_labels() -> None:
    generator = np.random.default_rng(0)
    pool = generator.normal(size=(40, 33)).astype(np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    gallery = pool[generator.integers(0, 40, 301)]
    gallery_labels = generator.integers(0, 20, 301)
    query, query_labels = pool, generator.integers(0, 20, 40)
    expected, _ = naive(query, query_labels, gallery, gallery_labels, metrics=METRICS)
    for few in (0, 16, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranking, "_FEW", few)
            for rows in (1, 7, 40):
                result = evaluate_retrieval(
                    query, query_labels, gallery, gallery_labels, metrics=METRICS, block_size=rows
                )
                assert dict(result) == pytest.approx(expected, abs=1e-12)
