"""The metrics a recipe may name under `Metric.Eval`, and the keys their figures are reported by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lookalike.core.component import SectionList
from lookalike.core.registry import Registry


@dataclass(frozen=True)
class MetricSpec:
    """Figures to report, in order: the key of a figure and its name in `lookalike.retrieval`."""

    figures: dict[str, str]


metrics: Registry[MetricSpec] = Registry("metric")


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


def build_metrics(components: Sequence[Any] | None = None, path: str = "Metric.Eval") -> list[MetricSpec]:
    """The metrics of a recipe's list; recall1, recall5 and mAP where the recipe names none.

    The first figure of the first metric decides which checkpoint is the best one, as in the reference.
    Raises UserError for an unknown metric and for an argument it does not have.
    """
    if not components:
        return [recall_at_k(), mean_average_precision()]
    listed = components if isinstance(components, SectionList) else SectionList(list(components))
    return [metrics.build(component, f"{path}[{index}]") for index, component in enumerate(listed)]


def figures_of(specs: Sequence[MetricSpec]) -> dict[str, str]:
    """All figures of several metrics, in order."""
    return {key: name for spec in specs for key, name in spec.figures.items()}
