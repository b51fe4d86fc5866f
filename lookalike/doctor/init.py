"""`init`: from a set of pictures to list files and a recipe that runs."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.files import atomic_file
from lookalike.doctor.choices import Choices, choose
from lookalike.doctor.copies import same_content
from lookalike.doctor.recipe_text import Facts, duration, recipe_text
from lookalike.doctor.source import is_table, read_source, relative_to
from lookalike.doctor.split import MIN_CLASSES, Split, split, too_few_to_score
from lookalike.doctor.survey import Survey, survey
from lookalike.images import Records, write_list
from lookalike.recipe import load_recipe, shipped_folder

_PARTS = ("train", "validation", "query", "gallery")


@dataclass(frozen=True)
class InitResult:
    """What `init_recipe` found and wrote. `splits`: pictures and classes of each part.

    `next`: the commands from here to a gallery.
    """

    recipe: str
    lists: dict[str, str]
    pictures: int
    classes: int
    splits: dict[str, dict[str, int]]
    backbone: str
    size: int
    epochs: int
    minutes_on_two_cores: float
    picture_sizes: dict[str, Any]
    broken: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """The findings for people, and what to do next."""
        sizes = self.picture_sizes
        lines = [
            f"{self.pictures} pictures of {self.classes} classes; the median one is "
            f"{sizes['median'][0]} x {sizes['median'][1]}, the smallest {sizes['smallest'][0]} x "
            f"{sizes['smallest'][1]}, the largest {sizes['largest'][0]} x {sizes['largest'][1]}"
        ]
        lines += [f"broken, left out: {each['path']}: {each['reason']}" for each in self.broken[:10]]
        if len(self.broken) > 10:
            lines.append(f"… and {len(self.broken) - 10} more broken ones (--json lists them all)")
        lines += [f"! {warning}" for warning in self.warnings]
        lines += [
            f"  {part:<11}{own['pictures']:>7} pictures {own['classes']:>6} classes  {self.lists[part]}"
            for part, own in self.splits.items()
        ]
        lines += [
            f"{self.recipe}: {self.backbone} at {self.size} x {self.size}, {self.epochs} epochs, about "
            f"{duration(self.minutes_on_two_cores)} on two CPU cores",
            "",
            "next:",
            *(f"  {command}" for command in self.next),
        ]
        return "\n".join(lines)


def init_recipe(
    data: str | Path,
    out: str | Path | None = None,
    *,
    root: str | Path | None = None,
    path_column: str = "path",
    label_column: str = "label",
    backbone: str | None = None,
    epochs: int | None = None,
    size: int | None = None,
    pretrained: bool | str | None = None,
    seed: int = 0,
    force: bool = False,
) -> InitResult:
    """Look at a set of pictures and write list files and a recipe for it.

    `out` is the recipe, by default named after the data; the lists lie in `<its stem>_lists` beside it.
    Broken pictures and second copies of the same file are left out of the lists. The same data and seed give
    the same lists.

    Raises UserError for data that cannot be read or is too little, and where files would be overwritten
    (`force` allows it).
    """
    recipe_path = Path(out) if out is not None else Path(f"{Path(data).resolve().stem}.yaml")
    folder = recipe_path.with_name(f"{recipe_path.stem}_lists")
    _refuse_overwriting(recipe_path, folder, force)
    records, top = read_source(data, root, path_column, label_column)
    seen = survey(records)
    broken = [{"path": records.paths[index], "reason": reason} for index, reason in seen.broken]
    records, warnings = _usable(records, seen)
    parts = _split(records, seed, warnings)
    warnings += _told_of_split(parts, records)
    numbered, names = _number(records, parts)
    choices = choose(
        seen,
        numbered.labels[parts.train],
        backbone=backbone,
        size=size,
        epochs=epochs,
        pretrained=_where(pretrained),
    )
    lists = {part: folder / f"{part}.txt" for part in _PARTS if parts.parts()[part]}
    counts = {part: _count(numbered, parts.parts()[part]) for part in lists}
    facts = Facts(
        data=str(data),
        schema=_schema(recipe_path),
        pictures=len(records),
        classes=records.num_classes,
        by_class=parts.by_class,
        root=str(top),
        lists=lists,
        counts=counts,
        seed=seed,
    )
    existed = folder.exists()
    try:
        _write(facts, choices, numbered, names, parts, top, recipe_path, folder)
    except BaseException:
        if not existed:  # lists without a recipe are of no use, and would be in the way the next time
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return InitResult(
        recipe=str(recipe_path),
        lists={part: str(path) for part, path in lists.items()},
        pictures=len(records),
        classes=records.num_classes,
        splits={part: {"pictures": own[0], "classes": own[1]} for part, own in counts.items()},
        backbone=choices.backbone,
        size=choices.size,
        epochs=choices.epochs,
        minutes_on_two_cores=round(choices.minutes, 1),
        picture_sizes={
            "median": [seen.width, seen.height],
            "smallest": seen.smallest,
            "largest": seen.largest,
        },
        broken=broken,
        warnings=warnings,
        next=_next(recipe_path, Path(data), top, lists),
    )


def _next(recipe: Path, data: Path, root: Path, lists: dict[str, Path]) -> list[str]:
    """The commands that check, train and export the recipe, and make a gallery of the pictures."""
    if data.is_dir():
        pictures = [str(data)]
    else:  # a table is no list: its gallery part is one
        listed = lists["gallery"] if is_table(data) else data
        pictures = ["--list", str(listed), "--root", str(root)]
    weights = "Global.pretrained_model=output/RecModel/best_model"
    commands = [
        ["check", "-c", str(recipe)],
        ["train", "-c", str(recipe)],
        ["export", "-c", str(recipe), "-o", weights],
        ["gallery", "create", f"{recipe.stem}.gallery", "--model", "inference", *pictures],
    ]
    return [shlex.join(["lookalike", *command]) for command in commands]


def _refuse_overwriting(recipe: Path, folder: Path, force: bool) -> None:
    if recipe.suffix not in (".yaml", ".yml"):
        raise UserError(f"-o {recipe}: a recipe is a YAML file; name it {recipe.with_suffix('.yaml')}")
    place = next(folder for folder in recipe.absolute().parents if folder.exists())
    try:
        tempfile.TemporaryFile(dir=place).close()  # permissions alone do not tell
    except OSError as error:
        raise UserError(
            f"-o {recipe}: nothing can be written into {place} ({error.strerror}); "
            "choose another folder with -o"
        ) from None
    there = [str(path) for path in (recipe, folder) if path.exists()]
    if there and not force:
        raise UserError(
            f"{' and '.join(there)} {'exists' if len(there) == 1 else 'exist'} already; "
            "choose another name with -o, or overwrite with --force"
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder, so that no lists can be written into it")


def _split(records: Records, seed: int, left_out: list[str]) -> Split:
    """`split`, whose errors tell as well what was left out before."""
    try:
        return split(records.labels, seed)
    except UserError as error:
        raise UserError("; ".join([str(error), *left_out])) from None


def _usable(records: Records, seen: Survey) -> tuple[Records, list[str]]:
    """The records without broken pictures and without second copies of a file, with what to tell of it."""
    warnings = []
    bad = {index for index, _ in seen.broken}
    if len(bad) == len(records):
        index, reason = seen.broken[0]
        raise UserError(f"none of the {len(records)} pictures can be read; {records.paths[index]}: {reason}")
    if bad:
        index, reason = seen.broken[0]
        warnings.append(
            f"{len(bad)} of {len(records)} pictures {'is' if len(bad) == 1 else 'are'} broken and left out "
            f"(first: {records.paths[index]}: {reason})"
        )
    good = records.subset([index for index in range(len(records)) if index not in bad])
    groups = same_content(good.paths)
    if groups:
        copies = {index for group in groups for index in group[1:]}
        odd = [group for group in groups if len({int(good.labels[index]) for index in group}) > 1]
        are = "picture is a copy of another" if len(copies) == 1 else "pictures are copies of others"
        warnings.append(f"{len(copies)} {are} and left out (first: {_told_of_copies(good, *groups[0][:2])})")
        if odd:
            other = next(index for index in odd[0] if good.labels[index] != good.labels[odd[0][0]])
            stand = "picture stands" if len(odd) == 1 else "pictures stand"
            warnings.append(
                f"{len(odd)} {stand} under two classes (first: {_told_of_copies(good, odd[0][0], other)}); "
                "the first class was taken"
            )
        good = good.subset([index for index in range(len(good)) if index not in copies])
    return good, warnings


def _told_of_copies(records: Records, one: int, other: int) -> str:
    first, second = records.paths[one], records.paths[other]
    if first != second:
        return f"{second} is {first}"
    return f"{first} is listed twice, {records.where(one)} and {records.where(other)}"


def _told_of_split(parts: Split, records: Records) -> list[str]:
    warnings = []
    _, counts = np.unique(records.labels, return_counts=True)
    lone = int((counts == 1).sum())
    if not parts.by_class:
        text = (
            f"only {int((counts > 1).sum())} classes have two pictures or more, too few to hold some out "
            f"(that takes "
            f"{MIN_CLASSES}): the pictures of each class are divided instead, so the figures say how well "
            f"known "
            "classes are recognised"
        )
        if not parts.validation:
            text += "; and as no class has six pictures there is no validation, so Eval chooses best_model"
        warnings.append(text)
    if lone:
        where = "trained on or stand in the gallery" if parts.by_class else "only trained on"
        warnings.append(f"{lone} classes have one picture: they are {where}")
    few = too_few_to_score(*_count(records, parts.query))
    if few:
        warnings.append(few)
    return warnings


def _number(records: Records, parts: Split) -> tuple[Records, dict[int, str]]:
    """Records with labels numbered from 0: the classes of training first, then the others; names by new
    label.
    """
    order: list[int] = []
    for indices in (parts.train, parts.validation, [*parts.query, *parts.gallery]):
        order += sorted({int(label) for label in records.labels[indices]} - set(order))
    number = {label: new for new, label in enumerate(order)}
    labels = np.array([number[int(label)] for label in records.labels], dtype=np.int64)
    names = {new: records.name_of(label) for label, new in number.items()}
    return replace(records, labels=labels, cameras=None, class_names=None), names


def _count(records: Records, indices: Sequence[int]) -> tuple[int, int]:
    return len(indices), len(np.unique(records.labels[list(indices)]))


def _where(pretrained: bool | str | None) -> bool | str | None:
    if isinstance(pretrained, str) and "://" not in pretrained and not Path(pretrained).exists():
        raise UserError(f"--pretrained {pretrained}: there is no such file; give a path, true or false")
    return pretrained


def _schema(recipe: Path) -> str | None:
    """The JSON schema as the recipe's editor finds it: relative within a checkout, else by the package's
    path.
    """
    schema = shipped_folder() / "recipe.schema.json"
    if not schema.is_file():
        return None
    own = recipe.resolve().parent
    if own.is_relative_to(schema.parent.parent):
        return Path(os.path.relpath(schema, own)).as_posix()
    return schema.as_posix()


def _write(
    facts: Facts,
    choices: Choices,
    records: Records,
    names: dict[int, str],
    parts: Split,
    top: Path,
    recipe: Path,
    folder: Path,
) -> None:
    told = replace(records, paths=[relative_to(top, path) for path in records.paths])
    for part in _PARTS:
        if part in facts.lists:
            write_list(facts.lists[part], told.subset(parts.parts()[part]))
        else:
            (folder / f"{part}.txt").unlink(missing_ok=True)  # of an earlier init
    with atomic_file(folder / "classes.txt", "w") as file:
        file.writelines(f"{label}\t{name}\n" for label, name in sorted(names.items()))
    with atomic_file(recipe, "w") as file:
        file.write(recipe_text(facts, choices))
    load_recipe(recipe)  # what was written must be a recipe
