"""Which pictures train, which choose, and which score: a division by class.

A model that is to recognise things it was not trained on must be scored on classes it has not seen. So whole
classes are held out, drawn by the seed:

- 70 % of the classes are trained on.
- 10 %, at least two, are the validation: searched among themselves while training, to choose the best epoch.
- 20 %, at least two, are the test: a third of the pictures of each are queries, the others the gallery.
- A class with one picture can be neither: it is trained on, or, one in five, stands in the gallery as
  something that no query asks for.

With fewer than eight classes of two or more pictures too little would be left on either side. Then the
pictures of each class are divided instead: of a class of six or more, 70 % train, 10 % (at least two)
validate, 20 % (at least two) test; of three to five, two test and the others train; of one or two, all train.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lookalike.core.errors import UserError

VALIDATION_SHARE, TEST_SHARE, QUERY_SHARE = 0.1, 0.2, 1 / 3
MIN_CLASSES = 8
"""Fewer classes with two pictures than this are not held out; their pictures are divided."""
ENOUGH_CLASSES, ENOUGH_QUERIES = 5, 50
"""Figures of fewer than these change much with the draw."""


@dataclass
class Split:
    """Positions of the records in each part, ascending. `by_class`: the parts have no class in common,
    gallery and query excepted.
    """

    by_class: bool
    train: list[int] = field(default_factory=list)
    validation: list[int] = field(default_factory=list)
    query: list[int] = field(default_factory=list)
    gallery: list[int] = field(default_factory=list)

    def parts(self) -> dict[str, list[int]]:
        return {name: getattr(self, name) for name in ("train", "validation", "query", "gallery")}


def split(labels: np.ndarray, seed: int = 0) -> Split:
    """Divide records with these labels (N,). The same labels and seed give the same parts.

    Raises UserError when there are too few classes or pictures to train and to score.
    """
    distinct = np.unique(labels)
    if len(distinct) < 2:
        all_of_them = "the one picture is" if len(labels) == 1 else f"all {len(labels)} pictures are"
        raise UserError(f"{all_of_them} of one class: recognition needs at least two to tell apart")
    rng = np.random.default_rng(seed)
    members = {int(label): rng.permutation(np.flatnonzero(labels == label)).tolist() for label in distinct}
    several = [label for label, own in members.items() if len(own) > 1]
    parts = _by_class(members, several, rng) if len(several) >= MIN_CLASSES else _by_picture(members, several)
    if not parts.query or len({int(labels[index]) for index in parts.train}) < 2:
        raise UserError(
            f"{len(labels)} pictures of {len(distinct)} classes are too few to train and to score: give at "
            "least two classes three pictures or more"
        )
    for own in parts.parts().values():
        own.sort()
    return parts


def too_few_to_score(queries: int, classes: int) -> str | None:
    """A sentence where figures of so many queries of so many classes say little."""
    if queries >= ENOUGH_QUERIES and classes >= ENOUGH_CLASSES:
        return None
    told = f"{queries} queries of {classes} class{'' if classes == 1 else 'es'}"
    if queries < ENOUGH_QUERIES:
        return f"{told}: one query is {100 / max(queries, 1):.0f} points; figures say little"
    return f"{told}: one class is {100 / max(classes, 1):.0f} % of them; figures say little"


def _by_class(members: dict[int, list[int]], several: list[int], rng: np.random.Generator) -> Split:
    order = rng.permutation(several).tolist()
    tested = max(2, round(TEST_SHARE * len(order)))
    validated = max(2, round(VALIDATION_SHARE * len(order)))
    found = Split(by_class=True)
    for label in order[:tested]:
        _test(found, members[label])
    for label in order[tested : tested + validated]:
        found.validation += members[label]
    for label in order[tested + validated :]:
        found.train += members[label]
    lone = rng.permutation([label for label, own in members.items() if len(own) == 1]).tolist()
    to_gallery = round(TEST_SHARE * len(lone))
    for position, label in enumerate(lone):
        (found.gallery if position < to_gallery else found.train).extend(members[int(label)])
    return found


def _by_picture(members: dict[int, list[int]], several: list[int]) -> Split:
    found = Split(by_class=False)
    for label, own in members.items():
        count = len(own)
        tested = max(2, round(TEST_SHARE * count)) if label in several and count >= 3 else 0
        validated = max(2, round(VALIDATION_SHARE * count)) if count >= 6 else 0
        _test(found, own[:tested])
        found.validation += own[tested : tested + validated]
        found.train += own[tested + validated :]
    return found


def _test(found: Split, own: list[int]) -> None:
    queries = max(1, round(QUERY_SHARE * len(own))) if own else 0
    found.query += own[:queries]
    found.gallery += own[queries:]
