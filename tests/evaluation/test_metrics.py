"""The metrics of recipes: their arguments, the keys they report, and the sentences of errors."""

from __future__ import annotations

import pytest

from lookalike.core.errors import UserError
from lookalike.evaluation.metrics import build_metrics, figures_of, metrics
from lookalike.retrieval import parse_metric


def test_keys_of_the_reference_in_the_order_of_the_recipe() -> None:
    specs = build_metrics(
        [{"Recallk": {"topk": [1, 5, 10]}}, {"mAP": {}}, {"mINP": None}, {"Precisionk": {"topk": 2}}]
    )
    assert figures_of(specs) == {
        "recall1": "recall@1", "recall5": "recall@5", "recall10": "recall@10",
        "mAP": "mAP", "mINP": "mINP", "precision@2": "precision@2",
    }  # fmt: skip


@pytest.mark.parametrize("components", [None, []])
def test_default(components: list | None) -> None:
    assert list(figures_of(build_metrics(components))) == ["recall1", "recall5", "mAP"]


def test_every_metric_builds_from_defaults_and_is_known_to_retrieval() -> None:
    for entry in metrics:
        for name in metrics.build(entry.name).figures.values():
            parse_metric(name)


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        ("Recalk", r"Metric.Eval\[0\]: unknown metric 'Recalk', did you mean 'Recallk'"),
        ({"Recallk": {"topk": 0}}, r"Metric.Eval\[0\].Recallk.topk: must be"),
        ({"Recallk": {"topk": []}}, "topk: must be"),
        ({"Recallk": {"topks": 1}}, "unknown argument 'topks', did you mean 'topk'"),
        ({"mAP": {"topk": 1}}, "unknown argument 'topk'"),
    ],
)
def test_errors(component: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build_metrics([component])
