"""An evaluation as the parts of a report look at it: names of classes, right answers, shown similarities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.scoring import Evaluation
from lookalike.retrieval import Result, TopK

NO_CLASS = "(no known class)"


@dataclass(frozen=True)
class View:
    """Query, gallery and what was found, each of which is surely there."""

    evaluation: Evaluation
    query: FeatureSet
    gallery: FeatureSet
    result: Result
    top: TopK

    @classmethod
    def of(cls, evaluation: Evaluation) -> View:
        """Raises ValueError where the evaluation was made without what a report tells of."""
        query, gallery, result = evaluation.query_set, evaluation.gallery_set, evaluation.result
        if query is None or gallery is None:
            raise ValueError("a report needs the features: evaluate with keep_features=True")
        if result is None or evaluation.top_k is None:
            raise ValueError("a report needs what was found: evaluate with top_k=50")
        if result.per_query is None:
            raise ValueError("a report needs a figure for each query, which reference_behaviour has not")
        return cls(evaluation, query, gallery, result, evaluation.top_k)

    @property
    def one_set(self) -> bool:
        """Whether each query was searched among all the others."""
        return self.query is self.gallery

    @cached_property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Which of the first answers are right: (Q, k). Of equally near ones, wrong ones stand first."""
        right = self.gallery.labels[self.top.indices] == self.query.labels[:, None]
        if self.gallery.distractors is not None:
            right &= ~self.gallery.distractors[self.top.indices]
        right &= self.top.indices >= 0
        order = np.lexsort((right, -self.top.similarities), axis=1)
        return np.take_along_axis(right, order, axis=1)

    def similarity(self, values: Any) -> Any:
        """Similarities as they are shown: cosines as they are, codes by their share of equal bits."""
        values = np.asarray(values, dtype=np.float64)
        if not self.query.binary:
            return values
        bits = self.query.features.shape[1]
        return 1 - (bits - values) / 2 / bits

    @property
    def measure(self) -> str:
        """What a similarity is."""
        return "share of equal bits" if self.query.binary else "similarity"

    @cached_property
    def named_by_folder(self) -> Mapping[Any, str]:
        """Names of classes that are only numbers: the folder of their pictures, where each has one of its
        own; else nothing.
        """
        sets = [self.query] if self.one_set else [self.query, self.gallery]
        if (
            any(each.paths is None or each.class_names for each in sets)
            or self.query.labels.dtype.kind != "i"
        ):
            return {}
        names: dict[Any, str] = {}
        for each in sets:
            for path, label in zip(each.paths or [], each.labels.tolist(), strict=True):
                if names.setdefault(label, Path(path).parent.name) != Path(path).parent.name:
                    return {}
        return names if len(set(names.values())) == len(names) and all(names.values()) else {}

    def query_class(self, row: int) -> str:
        """The name of the class of a query."""
        return self._name(self.query, row)

    def gallery_class(self, place: int) -> str:
        """The name of the class of a gallery picture."""
        if self.gallery.distractors is not None and self.gallery.distractors[place]:
            return NO_CLASS
        return self._name(self.gallery, place)

    def _name(self, found: FeatureSet, row: int) -> str:
        return self.named_by_folder.get(found.labels[row].item()) or found.class_of(row)
