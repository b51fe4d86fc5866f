"""A recipe: what one YAML file says, checked, with its settings typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from lookalike.core.component import Place, Section, SectionList
from lookalike.core.log import warn_once
from lookalike.recipe.checking import check
from lookalike.recipe.global_keys import Global
from lookalike.recipe.overrides import apply_overrides
from lookalike.recipe.schema import Amp, Ema, IndexProcess
from lookalike.recipe.tree import RecipeList, RecipeSection, plain, relocated


@dataclass(frozen=True)
class DataBlocks:
    """The blocks of `DataLoader`, each exactly as the recipe holds it, None where it has none."""

    Train: Section | None = None
    Eval: Section | None = None
    Validation: Section | None = None


@dataclass
class Recipe:
    """What a recipe says. Sections are exactly what the YAML holds there; `global_`, `amp`, `ema` are typed.

    `data` is None where the recipe has no `DataLoader`; `arch` and `optimizer` are empty where they are
    not given.
    """

    global_: Global
    arch: Section
    loss_train: SectionList
    loss_eval: SectionList
    optimizer: Section | SectionList
    data: DataBlocks | None
    metrics_train: SectionList
    metrics_eval: SectionList
    amp: Amp | None = None
    ema: Ema | None = None
    rec_pre_process: Section | None = None
    rec_post_process: Section | None = None
    index_process: IndexProcess | None = None
    name: str = "recipe"
    tree: RecipeSection = field(default_factory=RecipeSection, repr=False)

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], overrides: Sequence[str] = (), name: str = "recipe"
    ) -> Recipe:
        """Check a recipe that is a mapping already. The mapping is copied, not changed.

        Raises UserError that names the place of what is wrong.
        """
        tree = relocated(values, Place())
        apply_overrides(tree, overrides)
        form = check(tree)
        settings = form.global_
        data = _section(tree, "DataLoader")
        recipe = cls(
            global_=settings,
            arch=_section(tree, "Arch") or RecipeSection(place=tree.place_of("Arch")),
            loss_train=_list(tree, "Loss", "Train"),
            loss_eval=_list(tree, "Loss", "Eval"),
            optimizer=tree.get("Optimizer") or RecipeSection(place=tree.place_of("Optimizer")),
            data=DataBlocks(*(_section(data, key) for key in ("Train", "Eval", "Validation")))
            if data
            else None,
            metrics_train=_list(tree, "Metric", "Train"),
            metrics_eval=_list(tree, "Metric", "Eval"),
            amp=form.amp,
            ema=form.ema,
            rec_pre_process=_section(tree, "RecPreProcess"),
            rec_post_process=_section(tree, "RecPostProcess"),
            index_process=form.index_process,
            name=name,
            tree=tree,
        )
        recipe._settle()
        return recipe

    def _settle(self) -> None:
        """What follows from two sections together."""
        settings, given = self.global_, self.global_.model_fields_set
        if "eval_mode" not in given and self.data and self.data.Eval and "dataset" in self.data.Eval:
            settings.eval_mode = "classification"
        if settings.use_gpu is not None and "device" not in given:
            settings.device = "gpu" if settings.use_gpu else "cpu"
        head = self.arch.get("Head")
        told, used = settings.class_num, head.get("class_num") if isinstance(head, Mapping) else None
        if told is not None and used is not None and str(told) != str(used):
            place = self.tree["Global"].place_of("class_num")
            warn_once(
                f"{place}: is {told}, but Arch.Head.class_num is {used}: the head's {used} is used "
                "(Global.class_num is deprecated)"
            )

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain dicts and lists, with the overrides in it and without what had no effect."""
        values = plain(self.tree)
        settings = self.global_.model_dump(exclude_unset=True)
        if settings:
            values = {"Global": settings, **{key: value for key, value in values.items() if key != "Global"}}
        return dict(values)

    def dump(self) -> str:
        """The recipe as YAML text that loads to the same recipe."""
        return yaml.dump(
            self.to_dict(),
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=110,
            default_flow_style=None,
        )


class _Dumper(yaml.SafeDumper):
    """Writes a list of numbers in one line and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _section(parent: Section | None, key: str) -> Section | None:
    value = parent.get(key) if parent is not None else None
    return value if isinstance(value, Section) else None


def _list(tree: RecipeSection, section: str, key: str) -> SectionList:
    parent = _section(tree, section)
    value = parent.get(key) if parent is not None else None
    if isinstance(value, SectionList):
        return value
    return RecipeList(
        place=(parent or tree).place_of(key) if parent is not None else Place(f"{section}.{key}")
    )
