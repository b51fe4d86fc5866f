"""The figures of a query set against a gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import (
    BlockSource,
    IntArray,
    accelerator_of,
    as_count,
    as_labels,
    as_sets,
    block_rows,
    longest,
    parts_of,
)
from lookalike.retrieval.candidates import Candidates, same_image_ids
from lookalike.retrieval.metrics import Metric, average_precision, parse_metric
from lookalike.retrieval.pairs import PairCounts
from lookalike.retrieval.ranking import Nearest, Ranker, Ranking, TopK, similarities_and_ranker
from lookalike.retrieval.rates import Identified, Rate, parse_rate
from lookalike.retrieval.reference import reference_figures
from lookalike.retrieval.summaries import ClassMeans, bootstrap_interval, class_means, exact_where_all_agree

_FINER = 4
"""How often bins of similarities are divided at the most: from 2^-14 to what float64 tells apart."""

DEFAULT_METRICS = ("recall@1", "recall@5", "mAP", "mINP", "precision@1")


class Result(dict[str, float]):
    """Figures by the names that were asked for, and what stands behind them.

    queries, gallery: how many of each there were.
    queries_without_positive: queries whose label no ranked gallery item has; they are in no mean.
    query_labels: (Q,). has_positive: (Q,) which queries the means are over.
    per_query: for each metric its value per query, (Q,); 0 where `has_positive` is False. TAR@FAR is a share
        of pairs and has none; DIR@FAR has 1 for each query that is recognised.
    average_precision: (Q,), first_hit_rank: (Q,) one-based; both 0 where `has_positive` is False.
    positives: (Q,) how many right items the ranking of a query holds.
    best_positive, best_other: (Q,) the highest similarity to a right item and to one that is not; -inf where
        there is none. nearest_other: (Q,) gallery position of the latter, -1 where there is none.
    top_k: the best gallery items of each query; pairs: similarities of all pairs counted; each when asked
        for.
    tried: for each rate at a rate of false accepts, how many wrong answers its threshold was found on; with
        fewer than 1 / FAR of them not one may be accepted. identified: what stands behind each DIR@FAR.
    With `reference_behaviour` only the figures, labels and counts are there; the rest is None.
    """

    def __init__(
        self,
        figures: dict[str, float],
        *,
        gallery: int,
        query_labels: npt.NDArray[Any],
        has_positive: npt.NDArray[np.bool_],
        per_query: dict[str, npt.NDArray[np.float64]] | None = None,
        average_precision: npt.NDArray[np.float64] | None = None,
        first_hit_rank: IntArray | None = None,
        positives: IntArray | None = None,
        nearest: Nearest | None = None,
        top_k: TopK | None = None,
        pairs: PairCounts | None = None,
        identified: Mapping[str, Identified] | None = None,
        tried: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(figures)
        self.queries = len(has_positive)
        self.gallery = gallery
        self.query_labels = query_labels
        self.has_positive = has_positive
        self.queries_without_positive = int(np.count_nonzero(~has_positive))
        self.per_query = per_query
        self.average_precision = average_precision
        self.first_hit_rank = first_hit_rank
        self.positives = positives
        self.best_positive = None if nearest is None else nearest.positive
        self.best_other = None if nearest is None else nearest.other
        self.nearest_other = None if nearest is None else nearest.index
        self.top_k = top_k
        self.pairs = pairs
        self.identified = identified or {}
        self.tried = tried or {}

    def interval(self, name: str, confidence: float = 0.95) -> tuple[float, float]:
        """Bootstrap interval of a figure over queries; see `lookalike.retrieval.bootstrap_interval`, for
        TAR@FAR `PairCounts.interval`, for DIR@FAR `lookalike.retrieval.rates.Identified.interval`. Where all
        queries are wholly right, or all wholly wrong, it is the exact one of `exact_where_all_agree`.
        """
        if name in self.identified:
            return self.identified[name].interval(confidence)
        rate = parse_rate(name)
        if rate is not None and rate.kind == "TAR" and name in self and self.pairs is not None:
            drawn = self.pairs.interval(rate.false_accept_rate, confidence)
            return exact_where_all_agree(drawn, int(np.count_nonzero(self.has_positive)), confidence)
        values = self._values(name)
        interval = bootstrap_interval(values, confidence)
        if name == "first_hit_rank":  # no share
            return interval
        return exact_where_all_agree(interval, len(values), confidence)

    def by_class(self, name: str) -> ClassMeans:
        """The figure for the queries of each label, and as a mean over labels (`.macro`)."""
        return class_means(self._values(name), self.query_labels[self.has_positive])

    def _values(self, name: str) -> npt.NDArray[np.float64]:
        if self.per_query is None:
            raise ValueError("figures of the reference are means of blocks: they have no value per query")
        if name in self and name not in self.per_query:
            raise ValueError(f"'{name}' is a share of pairs: it has no value per query")
        if name not in self.per_query:
            raise ValueError(f"'{name}' was not asked for (there are: {', '.join(self.per_query)})")
        return self.per_query[name][self.has_positive]


def evaluate_retrieval(
    query: Any,
    query_labels: Any,
    gallery: Any,
    gallery_labels: Any,
    query_cameras: Any = None,
    gallery_cameras: Any = None,
    metrics: Sequence[str] | str = DEFAULT_METRICS,
    exclude_self: Any = False,
    *,
    block_size: int | None = None,
    memory_budget: int = 512 * 2**20,
    binary: bool = False,
    top_k: int | None = None,
    reference_behaviour: bool = False,
    pairs: bool | Sequence[float] = False,
    distractors: Any = None,
    similarities: BlockSource | None = None,
    progress: Callable[[Sequence[slice]], Iterable[slice]] | None = None,
) -> Result:
    """Rank the gallery for every query by inner product and score the ranking, exactly and in bounded memory.

    query (Q, D), gallery (G, D): features as NumPy arrays, also memory-mapped ones, or torch tensors,
        float16, bfloat16, float32 or float64; they are compared as they are, so normalise them first where
        the cosine is meant.
    query_labels (Q,), gallery_labels (G,): numbers or strings; a gallery item with the label of the query
        is a positive.
    query_cameras, gallery_cameras: where given, gallery items with the label AND the camera of the query
        are junk and are removed.
    metrics: names, or one: `recall@k` (the hit rate), `true_recall@k`, `precision@k`, `mAP`, `mAP@k`,
        `mAP@R`, `R-precision`, `mINP`, `MRR`, `nDCG@k`, `first_hit_rank`; see `lookalike.retrieval.metrics`
        for the formulas; and `TAR@FAR=0.001`, over pairs, and `DIR@FAR=0.01`, for an open set, which are in
        `lookalike.retrieval.rates`.
    exclude_self: which gallery item is the query image itself, so that it never counts: True (query i is
        gallery item i), the gallery position of each query (Q,) with -1 for none, or a pair of image ids
        `(of queries, of gallery)`.
    block_size: queries at a time; by default as many as `memory_budget` (bytes beyond the features) allows
        and speed has use for.
    binary: features are codes of 0 and 1 or of -1 and 1, compared by Hamming distance.
    top_k: also return the best k gallery items of each query.
    pairs: also count the similarities of all pairs, for TAR at FAR and histograms: see `PairCounts`. Rates of
        false accepts in place of True are those whose thresholds are wanted exactly, as those of TAR@FAR
        are; where pairs lie close together, that takes another pass over all products, or a few.
    distractors: (G,) True for gallery items that are ranked and never right, whatever their label.
    Tensors on an accelerator are ranked there.
    similarities: another measure than the inner product, such as `RerankedSimilarities`.
    progress: wraps the list of blocks to go through, for a bar.

    Ties count against the query (see `lookalike.retrieval.ranking`). A k beyond the gallery means the whole
    gallery. Means are over queries that have a positive; the others are counted in
    `queries_without_positive`.

    reference_behaviour: the figures PaddleClas gives. Junk and the image itself stay in the ranking as
        misses at similarity 0; ties fall as a stable sort leaves them; means are taken over blocks of
        `block_size` (64) queries and averaged by their size; mINP is zero-based; precision is over all
        queries; a block without any positive makes recall, mAP and mINP NaN. With `similarities` all queries
        are one block and junk stands last.

    Raises ValueError, with a sentence, for shapes that do not fit, NaN or infinite features, and when no
    query has a positive.

    >>> import numpy as np
    >>> features, labels = np.eye(3)[[0, 0, 1, 2]], np.array([7, 7, 8, 9])
    >>> result = evaluate_retrieval(features, labels, features, labels, exclude_self=True)
    >>> result["recall@1"], result.queries_without_positive
    (1.0, 2)
    """
    asked = [parse_metric(name) for name in ([metrics] if isinstance(metrics, str) else metrics)]
    wanted = [each for each in asked if isinstance(each, Metric)]
    rates = [each for each in asked if isinstance(each, Rate)]
    query_features, gallery_features = as_sets(query, gallery, binary)
    queries, size = len(query_features), len(gallery_features)
    if (query_cameras is None) != (gallery_cameras is None):
        raise ValueError("cameras must be given for both query and gallery, or for neither")
    block_size = None if block_size is None else as_count(block_size, "block_size")
    labels = as_labels(query_labels, "query labels", queries)
    candidates = Candidates(
        labels,
        as_labels(gallery_labels, "gallery labels", size),
        None
        if query_cameras is None
        else (
            as_labels(query_cameras, "query cameras", queries),
            as_labels(gallery_cameras, "gallery cameras", size),
        ),
        same_image_ids(exclude_self, queries, size),
        None if distractors is None else _as_marks(distractors, size),
    )
    if reference_behaviour:
        if top_k is not None:
            raise ValueError(
                "top_k lists the honest ranking: it cannot be asked for together with reference_behaviour"
            )
        if rates:
            raise ValueError(f"the reference has no '{rates[0].name}'")
        figures, has_positive = reference_figures(
            query_features, gallery_features, candidates, wanted, block_size or 64, similarities
        )
        return Result(figures, gallery=size, query_labels=labels, has_positive=has_positive)

    top_k = None if top_k is None else as_count(top_k, "top_k")
    counts = None
    of_pairs = [each.name for each in rates if each.kind == "TAR"]
    exactly = [each.false_accept_rate for each in rates if each.kind == "TAR"]
    if not isinstance(pairs, (bool, np.bool_)):
        exactly += _as_rates(pairs)
        pairs = True
    if binary:
        exactly = []  # of whole numbers, no bin holds two
    if pairs or of_pairs:
        if similarities is not None:
            what = of_pairs[0] if of_pairs else "pairs"
            raise ValueError(f"{what} counts inner products: it cannot be asked for with other similarities")
        counts = PairCounts(longest(query_features) * longest(gallery_features), queries)
    if rates and distractors is None and candidates.one_class:
        raise ValueError(f"{rates[0].name} needs two classes: of one class nothing can be accepted wrongly")
    source, kind, held = similarities, Ranker, 0
    if source is None:
        device = accelerator_of(query, gallery)
        source, kind = similarities_and_ranker(query_features, gallery_features, device, memory_budget)
        held = source.memory
    held += counts.memory if counts else 0
    rows = block_size or block_rows(
        size, source.dtype.itemsize, memory_budget - held, candidates.positives_most
    )
    top = TopK.empty(queries, min(top_k, size), source.dtype) if top_k else None
    ranker = kind(candidates, queries, source.dtype, top, counts.bins if counts else None)
    per_query = {metric.name: np.zeros(queries) for metric in wanted}
    precision = np.zeros(queries)
    first = np.zeros(queries, dtype=np.int64)
    positives = np.zeros(queries, dtype=np.int64)
    parts = parts_of(queries, rows)

    def keep(members: IntArray, ranking: Ranking) -> None:
        if not members.size:
            return
        positives[members] = ranking.positives
        first[members] = ranking.first
        precision[members] = average_precision(ranking)
        for metric in wanted:
            per_query[metric.name][members] = metric.per_query(ranking)

    for part in progress(parts) if progress else parts:
        keep(*ranker.rank(source.of(part), part))  # gone before the next block is made
    for _ in range(_FINER):
        finer = counts.crowded(exactly, source.dtype) if counts else {}
        if counts is None or not finer:
            break
        for part in progress(parts) if progress else parts:
            ranker.count(source.of(part), part, finer.values())
        counts.replace(finer)
    has_positive = positives > 0
    if not has_positive.any():
        raise ValueError(
            f"none of the {queries} queries has a gallery item with its label (junk and the image itself "
            "do not count), so there is nothing to score: check that query and gallery share labels"
        )
    figures = {name: float(values[has_positive].mean()) for name, values in per_query.items()}
    identified: dict[str, Identified] = {}
    tried: dict[str, int] = {}
    for rate in rates:
        if rate.kind == "TAR" and counts is not None:
            figures[rate.name] = counts.true_accept_rate(rate.false_accept_rate)
            tried[rate.name] = int(counts.others.sum())
        else:
            found = Identified(
                has_positive, ranker.nearest.positive, ranker.nearest.other, rate.false_accept_rate
            )
            identified[rate.name], per_query[rate.name] = found, found.per_query
            figures[rate.name] = float(found.per_query[has_positive].mean())
            tried[rate.name] = found.tried
    return Result(
        {each.name: figures[each.name] for each in asked},
        gallery=size,
        query_labels=labels,
        has_positive=has_positive,
        per_query=per_query,
        average_precision=precision,
        first_hit_rank=first,
        positives=positives,
        nearest=ranker.nearest,
        top_k=top,
        pairs=counts,
        identified=identified,
        tried=tried,
    )


def _as_rates(values: Any) -> list[float]:
    rates = np.asarray(values, dtype=np.float64)
    if rates.ndim != 1 or not np.all((rates >= 0) & (rates <= 1)):
        raise ValueError(f"pairs must be True, False or rates of false accepts from 0 to 1, got {values!r}")
    return [float(each) for each in rates]


def _as_marks(values: Any, count: int) -> npt.NDArray[np.bool_]:
    marks = as_labels(values, "distractors", count)
    if marks.dtype != bool:
        raise ValueError(f"distractors must be True or False for each gallery item, got {marks.dtype}")
    return marks
