"""What may be done to features between the model and the search: whitening, augmentation, expansion."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lookalike.core.errors import UserError
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.retrieval import Whitening, augment_database, expand_queries


@dataclass(frozen=True)
class Refinement:
    """Steps in their order: whitening of both sets, then the gallery, then the queries against that gallery.

    whitening: learned on features of training pictures, never on those that are scored.
    database_augmentation: each gallery feature plus its so many nearest others; 0 leaves it as it is.
    query_expansion: each query plus its so many nearest gallery features; 0 leaves it as it is.
    alpha: neighbours weigh similarity^alpha; see `lookalike.retrieval.expansion`.

    Where query and gallery are one set, augmentation moves both, and expansion is refused: a query would find
    itself.
    """

    whitening: Whitening | None = None
    database_augmentation: int = 0
    query_expansion: int = 0
    alpha: float = 3.0

    def __bool__(self) -> bool:
        return bool(self.whitening or self.database_augmentation or self.query_expansion)

    def __call__(self, query: FeatureSet, gallery: FeatureSet) -> tuple[FeatureSet, FeatureSet]:
        """The sets with other features; one and the same where they were.

        Raises UserError for codes, for features that are not of length 1 and for dimensions that do not fit.
        """
        if not self:
            return query, gallery
        if query.binary or gallery.binary:
            raise UserError("binary codes can be neither whitened nor expanded: score the real features")
        one_set = query is gallery
        if one_set and self.query_expansion:
            raise UserError(
                "query expansion needs a gallery beside the queries: in one set each query would find "
                "itself, and database augmentation moves them all"
            )
        try:
            if self.whitening is not None:
                query = replace(query, features=self.whitening.apply(query.features))
                gallery = (
                    query if one_set else replace(gallery, features=self.whitening.apply(gallery.features))
                )
            if self.database_augmentation:
                features = augment_database(gallery.features, self.database_augmentation, self.alpha)
                gallery = replace(gallery, features=features)
                query = gallery if one_set else query
            if self.query_expansion:
                features = expand_queries(query.features, gallery.features, self.query_expansion, self.alpha)
                query = replace(query, features=features)
        except ValueError as error:
            raise UserError(str(error)) from error
        return query, gallery
