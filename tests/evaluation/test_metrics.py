"""The metrics of recipes: their arguments, the keys they report, and the sentences of errors."""

from __future__ import annotations

import pytest

from lookalike.core.errors import UserError
from lookalike.core.log import forget_warnings
from lookalike.evaluation.metrics import (
    TopkAccuracy,
    accuracy_keys,
    build_accuracies,
    build_metrics,
    check_metrics,
    check_of_the_reference,
    figures_of,
    metrics,
    metrics_named,
)
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
        needed = {"model_key": "Student"} if entry.name == "DistillationTopkAcc" else {}
        built = metrics.build({entry.name: needed})
        if isinstance(built, TopkAccuracy):
            continue
        for name in built.figures.values():
            parse_metric(name)


def test_rates_at_false_accepts_by_name() -> None:
    named = figures_of(build_metrics([{"TARatFAR": {"far": [1e-3, 0.05]}}, {"DIRatFAR": {"far": 0.1}}]))
    assert list(named) == ["TAR@FAR=0.001", "TAR@FAR=0.05", "DIR@FAR=0.1"]
    assert list(figures_of(metrics_named(["TAR@FAR=1e-3"]))) == ["TAR@FAR=1e-3"]
    with pytest.raises(UserError, match="from 0 to below 1"):
        metrics_named(["DIR@FAR=1.5"])
    with pytest.raises(UserError, match=r"the reference has no 'TAR@FAR=0.1'"):
        check_of_the_reference(metrics_named(["TAR@FAR=0.1"]))


def test_accuracies() -> None:
    assert accuracy_keys(build_accuracies(None)) == [{1: "top1", 5: "top5"}]
    several = [
        {"DistillationTopkAcc": {"model_key": "Student", "topk": [1, 2]}},
        {"DistillationTopkAcc": {"model_key": "Teacher", "feature_key": "logits", "topk": 1}},
    ]
    built = build_accuracies(several)
    assert [each.outputs for each in built] == [("Student", "logits"), ("Teacher", "logits")]
    assert accuracy_keys(built) == [{1: "top1", 2: "top2"}, {1: "Teacher_top1"}]


def test_names_of_retrieval_have_the_keys_of_recipes() -> None:
    asked = ["recall@1", "recall5", "mAP@R", "nDCG@10", "first_hit_rank"]
    (spec,) = metrics_named(asked)
    assert list(spec.figures) == ["recall1", "recall5", "mAP@R", "nDCG@10", "first_hit_rank"]
    assert spec.figures["recall5"] == "recall@5"
    named = figures_of(build_metrics([{"Recallk": {"topk": [1, 5]}}, "mAP@R", {"nDCGk": {"topk": 10}}]))
    assert {key: spec.figures[key] for key in named} == named
    with pytest.raises(UserError, match="'recall@' needs a whole number"):
        metrics_named(["recall@"])


def test_the_reference_has_few_metrics() -> None:
    check_metrics(["RecallAtK", "mAP", "mINP", "Precisionk"], "retrieval", reference_behaviour=True)
    check_metrics(["MRR"], "retrieval")
    with pytest.raises(UserError, match="the reference has no 'MRR'"):
        check_metrics(["mAP", "MRR"], "retrieval", reference_behaviour=True)


def test_metrics_belong_to_a_mode(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r"Metric.Eval\[1\]: TopkAcc scores classes .* classification"):
        build_metrics(["mAP", "TopkAcc"])
    with pytest.raises(UserError, match=r"Recallk scores a search .*eval_mode: retrieval"):
        build_accuracies(["Recallk"])
    forget_warnings()
    check_metrics(["Recallk"], "adaface")
    assert "Recallk has no effect: eval_mode adaface has its own figures" in caplog.text
    check_metrics(None, "adaface")


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
