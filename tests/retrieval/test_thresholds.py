"""Thresholds and rates of false accepts against loops that follow the definitions word by word."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.retrieval import (
    OpenSetScores,
    OperatingPoint,
    class_thresholds,
    detection_and_identification_rate,
    evaluate_retrieval,
    scores_needed,
    threshold_at,
    thresholds,
)

few_values = st.lists(st.integers(0, 6).map(lambda step: step / 8), min_size=1, max_size=30)
rates = st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9])


def naive_threshold(wrong: list[float], rate: float) -> float:
    """Of all thresholds that decide differently, the smallest that accepts few enough."""
    candidates = sorted({math.nextafter(score, math.inf) for score in wrong})
    return min(t for t in candidates if sum(w >= t for w in wrong) <= rate * len(wrong) + 1e-9)


@given(few_values, rates)
@settings(max_examples=60, deadline=None)
def test_the_threshold_is_the_smallest_that_keeps_the_rate(wrong: list[float], rate: float) -> None:
    found = threshold_at(wrong, rate)
    assert found == naive_threshold(wrong, rate)
    with_steps = threshold_at(wrong, rate, resolution=1 / 8)  # decides alike on all scores of that lattice
    lattice = [step / 8 for step in range(8)]
    assert [score >= found for score in lattice] == [score >= with_steps for score in lattice]


def test_rates_that_are_not_exact_in_binary() -> None:
    wrong = np.arange(100) / 100
    for percent in range(100):
        assert np.count_nonzero(wrong >= threshold_at(wrong, percent / 100)) == percent


@given(few_values, few_values, few_values, rates)
@settings(max_examples=60, deadline=None)
def test_detection_and_identification(
    b: list[float], o: list[float], unknown: list[float], rate: float
) -> None:
    count = min(len(b), len(o))
    b, o = [*b[:count], -math.inf], [*o[:count], 0.9]  # the last one has no right item
    t = naive_threshold(unknown, rate)
    expected = sum(x >= t and x > y for x, y in zip(b, o, strict=True)) / count
    assert detection_and_identification_rate(b, o, unknown, rate) == pytest.approx(expected, abs=1e-15)


def features(seed: int, classes: int = 12, each: int = 6, size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    vectors = rng.normal(size=(classes, size))[labels] + 0.5 * rng.normal(size=(len(labels), size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def scores_of(vectors: np.ndarray, labels: np.ndarray, cameras: np.ndarray | None = None) -> OpenSetScores:
    return OpenSetScores.of(
        evaluate_retrieval(vectors, labels, vectors, labels, cameras, cameras, exclude_self=True), labels
    )


def test_scores_against_a_loop() -> None:
    vectors, labels = features(0)
    cameras = np.arange(len(labels)) % 3
    vectors[7] = vectors[50]  # a copy in another class: no right answer
    found = scores_of(vectors, labels, cameras)
    similarity = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    for q in range(len(labels)):
        right = [g for g in range(len(labels)) if labels[g] == labels[q] and cameras[g] != cameras[q]]
        wrong = [g for g in range(len(labels)) if labels[g] != labels[q]]
        assert found.best_positive[q] == pytest.approx(max(similarity[q, right]), abs=1e-6)
        assert found.best_other[q] == pytest.approx(max(similarity[q, wrong]), abs=1e-6)
        assert found.other_labels[q] == labels[max(wrong, key=lambda g: similarity[q, g])]
        assert found.right[q] == (max(similarity[q, right]) > max(similarity[q, wrong]) and q not in (7, 50))
    reference = evaluate_retrieval(vectors, labels, vectors, labels, reference_behaviour=True)
    with pytest.raises(ValueError, match="no scores of queries"):
        OpenSetScores.of(reference, labels)


def test_an_operating_point_against_a_loop() -> None:
    vectors, labels = features(1)
    scores = scores_of(vectors, labels)
    for rate in (0.02, 0.2):
        point = OperatingPoint.find(scores, rate, resamples=200)
        assert point.threshold == naive_threshold(scores.best_other.tolist(), rate)
        accepted = [o >= point.threshold for o in scores.best_other]
        kept = [
            b >= point.threshold and b > o
            for b, o in zip(scores.best_positive, scores.best_other, strict=True)
        ]
        assert (point.false_accepts, point.false_accept_rate) == (sum(accepted), np.mean(accepted))
        assert point.identification_rate == pytest.approx(np.mean(kept), abs=1e-12)
        assert point.supported
        for low, high in (
            point.threshold_interval, point.false_accept_interval, point.identification_interval,
        ):  # fmt: skip
            assert low < high
        assert point.threshold_interval[0] <= point.threshold <= point.threshold_interval[1]
        # chosen on other pictures, the threshold may accept more than the rate that was wanted
        assert point.false_accept_interval[1] > rate
        assert point.expected_false_accept_rate > point.false_accept_rate
    assert OperatingPoint.find(scores, 0.2, resamples=200) == point
    assert OperatingPoint.find(scores, 0.2, resamples=200, seed=1) != point


def test_intervals_draw_classes_and_not_pictures() -> None:
    """Ten copies of every picture tell nothing new: the intervals stay as they are."""
    vectors, labels = features(2)
    scores = scores_of(vectors, labels)
    tenfold = OpenSetScores(
        *(np.repeat(values, 10) for values in (scores.labels, scores.best_positive, scores.best_other)),
        np.repeat(scores.other_labels, 10),
    )
    one, ten = (OperatingPoint.find(each, 0.125, resamples=200) for each in (scores, tenfold))
    assert ten.threshold_interval == one.threshold_interval
    assert ten.false_accept_interval == one.false_accept_interval
    assert ten.identification_interval == one.identification_interval


def test_where_all_classes_agree_the_intervals_are_the_exact_ones() -> None:
    labels = np.repeat(np.arange(20), 6)
    other = np.zeros(120)
    scores = OpenSetScores(labels, other + 1, other, np.full(120, -1))
    point = OperatingPoint.find(scores, 0.1, confidence=0.9, resamples=50)
    assert (point.identification_rate, point.expected_false_accept_rate) == (1, 0)
    assert point.identification_interval == pytest.approx((0.05 ** (1 / 20), 1))
    assert point.false_accept_interval == pytest.approx((0, 1 - 0.05 ** (1 / 20)))


def test_classes_that_are_mistaken_for_each_other_are_drawn_together() -> None:
    rng = np.random.default_rng(4)
    labels, count = np.repeat(np.arange(20), 6), 120
    other = rng.normal(size=20)[labels] + 0.5 * rng.normal(size=count)
    alone = OpenSetScores(labels, other + 1, other, np.full(count, -1))
    halves = 2 * labels + np.arange(count) % 2  # each class as two, which have their like in each other
    couples = OpenSetScores(halves, other + 1, other, halves ^ 1)
    strangers = OpenSetScores(halves, other + 1, other, np.full(count, -1))
    one, two, three = (OperatingPoint.find(each, 0.1, resamples=100) for each in (alone, couples, strangers))
    assert two == one
    assert three.expected_false_accept_rate < two.expected_false_accept_rate  # which is too hopeful
    pair = OpenSetScores(halves[:12], other[:12] + 1, other[:12], halves[:12] ^ 1)
    assert OperatingPoint.find(pair, 0.1, resamples=100).false_accept_interval is not None
    single = OpenSetScores(labels[:6], other[:6] + 1, other[:6], np.full(6, -1))
    assert OperatingPoint.find(single, 0.1, resamples=100).false_accept_interval is None


def test_too_few_scores_are_told_and_accept_nothing() -> None:
    vectors, labels = features(3)  # 72 queries
    scores = scores_of(vectors, labels)
    point = OperatingPoint.find(scores, 0.01, resamples=50)
    assert (point.supported, point.false_accepts) == (False, 0)
    assert point.threshold > scores.best_other.max()
    assert point.false_accept_interval[1] > 0  # but 0 is not what is promised
    assert (scores_needed(0.01), scores_needed(1 / 3), scores_needed(0.3), scores_needed(1)) == (100, 3, 4, 1)


def test_the_share_that_is_promised_is_kept_on_other_classes() -> None:
    """60 sets of 40 classes each: what a threshold accepts of all there is of their kind lies in its interval
    at least as often as that says, and a little below what is expected.
    """
    rng = np.random.default_rng(5)
    inside, true, expected = 0, [], []
    for _ in range(60):
        # the best wrong score of a picture: how near its class has a look-alike, and chance
        labels = np.repeat(np.arange(40), 8)
        other = rng.normal(size=40)[labels] + 0.5 * rng.normal(size=320)
        scores = OpenSetScores(labels, other + 1, other, np.full(320, -1))
        point = OperatingPoint.find(scores, 0.1, resamples=100)
        truth = 0.5 * math.erfc(point.threshold / math.sqrt(1.25) / math.sqrt(2))
        true.append(truth)
        expected.append(point.expected_false_accept_rate)
        inside += point.false_accept_interval[0] <= truth <= point.false_accept_interval[1]
    assert inside / 60 >= 0.95
    assert 0.1 < np.mean(true) < np.mean(expected) < 1.3 * np.mean(true)


def test_thresholds_by_class_against_a_loop() -> None:
    rng = np.random.default_rng(6)
    gallery_labels = np.repeat(["a", "b", "c", "d"], 5)
    labels = rng.choice(["a", "b", "c", "d"], 400)
    nearest = np.array([rng.choice(np.flatnonzero(gallery_labels != label)) for label in labels])
    keep = (gallery_labels[nearest] != "d") | (rng.random(400) < 0.1)  # d is hardly ever mistaken for
    labels, nearest = labels[keep], nearest[keep]
    centre = {"a": 0.2, "b": 0.5, "c": 0.6, "d": 0.4}
    other = np.array([centre[gallery_labels[n]] for n in nearest]) + 0.1 * rng.normal(size=len(nearest))
    positive = 0.7 + 0.1 * rng.normal(size=len(nearest))
    scores = OpenSetScores(labels, positive, other, gallery_labels[nearest])
    found = class_thresholds(scores, 0.05)
    assert set(found.own) == {"a", "b", "c"}
    of = {label: threshold for label, (threshold, _) in found.own.items()}
    accepted = 0
    for label in "abcd":
        mine = [o for o, n in zip(other, nearest, strict=True) if gallery_labels[n] == label]
        if label != "d":
            assert of[label] == naive_threshold(mine, 0.05)
            assert found.own[label][1] == len(mine)
        else:
            everything = naive_threshold(other.tolist(), 0.05)
            assert found.rest == max(everything, naive_threshold(mine, 0.05))
        accepted += sum(o >= of.get(label, found.rest) for o in mine)
    assert found.false_accept_rate == pytest.approx(accepted / len(other), abs=1e-12)
    assert found.false_accept_rate <= 0.05
    kept = [b > o and b >= of.get(q, found.rest) for b, o, q in zip(positive, other, labels, strict=True)]
    assert found.identification_rate == pytest.approx(np.mean(kept), abs=1e-12)
    assert found.identification_rate > OperatingPoint.find(scores, 0.05, resamples=10).identification_rate
    alone = class_thresholds(scores, 0.001)  # 20 scores are not enough for one in a thousand
    assert (alone.own, alone.rest) == ({}, threshold_at(other, 0.001))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: threshold_at([], 0.1), "needs scores"),
        (lambda: threshold_at([math.nan], 0.1), "NaN"),
        (lambda: threshold_at([0.5], 1.1), "lies in 0..1"),
        (lambda: scores_needed(0.0), "above 0"),
        (lambda: detection_and_identification_rate([0.5], [0.5, 0.4], [0.1], 0.1), "do not fit"),
        (lambda: detection_and_identification_rate([-math.inf], [0.5], [0.1], 0.1), "in the gallery"),
    ],
)
def test_errors_are_sentences(call, told: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=told):
        call()


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(thresholds).failed == 0
