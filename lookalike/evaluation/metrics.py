"""The metrics a recipe may name under `Metric.Eval`, and the keys their figures are reported by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lookalike.core.component import Component, SectionList
from lookalike.core.errors import UserError
from lookalike.core.log import note_once
from lookalike.core.registry import Registry
from lookalike.retrieval import parse_metric


@dataclass(frozen=True)
class MetricSpec:
    """Figures to report, in order: the key of a figure and its name in `lookalike.retrieval`."""

    figures: dict[str, str]


@dataclass(frozen=True)
class TopkAccuracy:
    """Accuracies of a classifier: the k of each, and the path to the class scores in what the model gives."""

    topk: tuple[int, ...]
    outputs: tuple[str, ...] = ("logits",)


metrics: Registry[MetricSpec | TopkAccuracy] = Registry("metric")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int) else list(value) if isinstance(value, tuple) else value


Ks = Annotated[list[Annotated[int, Field(ge=1)]], BeforeValidator(_as_list), Field(min_length=1)]
"""One k or several: `topk: 5` or `topk: [1, 5]`."""


@metrics.register("Recallk", "RecallAtK")
def recall_at_k(topk: Ks = [1, 5]) -> MetricSpec:  # noqa: B006  (read only)
    """Share of queries with a positive among the first k.

    `recall1`, `recall5`. See `retrieval.metrics.hit_rate`.
    """
    return MetricSpec({f"recall{k}": f"recall@{k}" for k in topk})


@metrics.register("Precisionk", "PrecisionAtK")
def precision_at_k(topk: Ks = [1, 5]) -> MetricSpec:  # noqa: B006  (read only)
    """Mean share of positives among the first k.

    `precision@1`, `precision@5`. See `retrieval.metrics.precision`.
    """
    return MetricSpec({f"precision@{k}": f"precision@{k}" for k in topk})


@metrics.register("mAP")
def mean_average_precision() -> MetricSpec:
    """Mean average precision: `mAP`. See `retrieval.metrics.average_precision`."""
    return MetricSpec({"mAP": "mAP"})


@metrics.register("mINP")
def mean_inverse_negative_penalty() -> MetricSpec:
    """Mean inverse negative penalty: `mINP`. See `retrieval.metrics.inverse_negative_penalty`."""
    return MetricSpec({"mINP": "mINP"})


@metrics.register("TrueRecallk")
def true_recall_at_k(topk: Ks = [1, 5]) -> MetricSpec:  # noqa: B006  (read only)
    """Mean share of the positives that are among the first k: `true_recall@5`.

    See `retrieval.metrics.true_recall`.
    """
    return MetricSpec({f"true_recall@{k}": f"true_recall@{k}" for k in topk})


@metrics.register("mAPk")
def mean_average_precision_at_k(topk: Ks = [100]) -> MetricSpec:  # noqa: B006  (read only)
    """Mean average precision of the first k places: `mAP@100`.

    See `retrieval.metrics.average_precision_at_k`.
    """
    return MetricSpec({f"mAP@{k}": f"mAP@{k}" for k in topk})


@metrics.register("mAPR", "mAP@R")
def mean_average_precision_at_r() -> MetricSpec:
    """Mean average precision of as many places as there are positives: `mAP@R`.

    See `retrieval.metrics.average_precision_at_r`.
    """
    return MetricSpec({"mAP@R": "mAP@R"})


@metrics.register("RPrecision", "R-precision")
def r_precision() -> MetricSpec:
    """Share of positives among as many places as there are positives: `R-precision`.

    See `retrieval.metrics.r_precision`.
    """
    return MetricSpec({"R-precision": "R-precision"})


@metrics.register("MRR")
def mean_reciprocal_rank() -> MetricSpec:
    """Mean of 1 / rank of the first positive: `MRR`. See `retrieval.metrics.reciprocal_rank`."""
    return MetricSpec({"MRR": "MRR"})


@metrics.register("nDCGk")
def discounted_gain_at_k(topk: Ks = [10]) -> MetricSpec:  # noqa: B006  (read only)
    """Normalised discounted cumulative gain of the first k places: `nDCG@10`.

    See `retrieval.metrics.discounted_gain`.
    """
    return MetricSpec({f"nDCG@{k}": f"nDCG@{k}" for k in topk})


Rates = Annotated[
    list[Annotated[float, Field(ge=0, lt=1)]],
    BeforeValidator(lambda value: [value] if isinstance(value, (int, float)) else value),
    Field(min_length=1),
]
"""One rate of false accepts or several."""


@metrics.register("TARatFAR")
def true_accept_rate(far: Rates = [0.001]) -> MetricSpec:  # noqa: B006  (read only)
    """Share of pairs of one label that are accepted where at most a share `far` of other pairs is.

    `TAR@FAR=0.001`. See `retrieval.pairs.PairCounts`.
    """
    return MetricSpec({name: name for name in (f"TAR@FAR={float(rate)!r}" for rate in far)})


@metrics.register("DIRatFAR")
def identification_rate(far: Rates = [0.01]) -> MetricSpec:  # noqa: B006  (read only)
    """Share of queries that are recognised where at most a share `far` of unknown things is accepted.

    `DIR@FAR=0.01`. See `retrieval.rates.identified`.
    """
    return MetricSpec({name: name for name in (f"DIR@FAR={float(rate)!r}" for rate in far)})


@metrics.register("TopkAcc")
def top_k_accuracy(topk: Ks = [1, 5]) -> TopkAccuracy:  # noqa: B006  (read only)
    """Share of images whose class is among the k with the highest scores (`eval_mode: classification`).

    `top1`, `top5`. With k of at least the number of classes it is 1, as in the reference.
    """
    return TopkAccuracy(tuple(topk))


@metrics.register("DistillationTopkAcc")
def distillation_top_k_accuracy(
    model_key: str,
    feature_key: str | None = "logits",
    topk: Ks = [1, 5],  # noqa: B006  (read only)
) -> TopkAccuracy:
    """TopkAcc of one of several models: `model_key` names it, `feature_key` its class scores.

    A second one whose figures have the names of the first reports them as `Teacher_top1`, …. (In the
    reference they overwrite those of the first.)
    """
    return TopkAccuracy(tuple(topk), (model_key, feature_key) if feature_key else (model_key,))


def build_metrics(components: Sequence[Any] | None = None, path: str = "Metric.Eval") -> list[MetricSpec]:
    """The metrics of a recipe's list; recall1, recall5 and mAP where the recipe names none.

    The first figure of the first metric decides which checkpoint is the best one, as in the reference.
    Raises UserError for an unknown metric, for an argument it does not have, and for a metric of classes.
    """
    chosen = []
    for named, built in _built(components, path):
        if not isinstance(built, MetricSpec):
            raise named.place.error(
                f"{named.name} scores classes and not a search: it needs Global.eval_mode: classification"
            )
        chosen.append(built)
    return chosen or [recall_at_k(), mean_average_precision()]


def build_accuracies(
    components: Sequence[Any] | None = None, path: str = "Metric.Eval"
) -> list[TopkAccuracy]:
    """The metrics of a recipe's list for `eval_mode: classification`; top1 and top5 where it names none.

    Raises UserError for an unknown metric, for an argument it does not have, and for a metric of retrieval.
    """
    chosen = []
    for named, built in _built(components, path):
        if not isinstance(built, TopkAccuracy):
            raise named.place.error(
                f"{named.name} scores a search and not classes: it needs Global.eval_mode: retrieval"
            )
        chosen.append(built)
    return chosen or [top_k_accuracy()]


_OF_THE_REFERENCE = ("recall@", "precision@", "mAP", "mINP")


def check_of_the_reference(specs: Sequence[MetricSpec]) -> None:
    """Raise UserError for figures that the reference does not have, so that `reference_behaviour` cannot give
    them.
    """
    for name in figures_of(specs).values():
        if parse_metric(name).family not in _OF_THE_REFERENCE:
            raise UserError(
                f"the reference has no '{name}', so Global.reference_behaviour cannot give it (it has "
                "recall@k, precision@k, mAP, mINP)"
            )


def check_metrics(components: Sequence[Any] | None, mode: str, reference_behaviour: bool = False) -> None:
    """Raise UserError for metrics that are wrong, or that do not belong to an evaluation of this mode.

    Verification (`adaface`) has figures of its own: metrics are then told to have no effect. With
    `reference_behaviour` a search has those metrics only whose figures the reference defines.
    """
    if mode == "classification":
        build_accuracies(components)
    elif mode == "retrieval":
        specs = build_metrics(components)
        if reference_behaviour:
            check_of_the_reference(specs)
    else:
        for named, _ in _built(components, "Metric.Eval"):
            note_once(f"{named.place.prefix}{named.name} has no effect: eval_mode {mode} has its own figures")


def _built(
    components: Sequence[Any] | None, path: str
) -> Iterator[tuple[Component, MetricSpec | TopkAccuracy]]:
    listed = components if isinstance(components, SectionList) else SectionList(list(components or []))
    for index, value in enumerate(listed):
        component = Component.of(value, f"{path}[{index}]")
        yield component, metrics.build(component)


def accuracy_keys(specs: Sequence[TopkAccuracy]) -> list[dict[int, str]]:
    """The key of each k of each metric: `top1`, or `Teacher_top1` where there is a `top1` already."""
    taken: set[str] = set()
    keys: list[dict[int, str]] = []
    for spec in specs:
        named = {k: f"top{k}" for k in spec.topk}
        if taken & set(named.values()):
            named = {k: f"{'_'.join(spec.outputs[:1])}_top{k}" for k in spec.topk}
        taken |= set(named.values())
        keys.append(named)
    return keys


def metrics_named(names: Sequence[str]) -> list[MetricSpec]:
    """Figures by their names in `lookalike.retrieval`: `recall@5`, `mAP`, `nDCG@10`, ….

    Keys are those of recipes: `recall5` (which may be asked for by that name too), and else the name itself.
    Raises UserError for a name that is no metric.
    """
    figures: dict[str, str] = {}
    for name in names:
        written = re.sub(r"^recall(?=\d)", "recall@", name)
        try:
            parse_metric(written)
        except ValueError as error:
            raise UserError(str(error)) from None
        figures[re.sub(r"^recall@", "recall", written)] = written
    return [MetricSpec(figures)]


def figures_of(specs: Sequence[MetricSpec]) -> dict[str, str]:
    """All figures of several metrics, in order."""
    return {key: name for spec in specs for key, name in spec.figures.items()}
