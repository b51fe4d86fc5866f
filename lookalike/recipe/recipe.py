"""A recipe: what one YAML file says, checked, with its settings typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from lookalike.core.component import Place, Section, SectionList
from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.recipe.checking import check
from lookalike.recipe.global_keys import Global
from lookalike.recipe.overrides import apply_overrides
from lookalike.recipe.schema import Amp, Ema, IndexProcess, SemiSupervised, Slim
from lookalike.recipe.tree import RecipeList, RecipeSection, plain, relocated


@dataclass(frozen=True)
class DataBlocks:
    """The blocks of `DataLoader`, each exactly as the recipe holds it, None where it has none."""

    Train: Section | None = None
    Eval: Section | None = None
    Validation: Section | None = None
    Metalearning: Section | None = None
    UnLabelTrain: Section | None = None


@dataclass
class Recipe:
    """What a recipe says. `global_`, `amp`, `ema`, `slim` and `index_process` are typed, the rest is as in
    the YAML.

    `tree` is the whole of it, with anchors and overrides applied; sections are read from there, so that a
    change of one is in the dump too.
    """

    global_: Global
    amp: Amp | None
    ema: Ema | None
    slim: Slim | None
    index_process: IndexProcess | None
    tree: RecipeSection = field(repr=False)
    name: str = "recipe"

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
        recipe = cls(form.global_, form.amp, form.ema, form.slim, form.index_process, tree, name)
        recipe._settle()
        return recipe

    @property
    def weights(self) -> str | None:
        """Weights of the whole model: `Global.pretrained_model`, else those of `Global.checkpoints`.

        Raises UserError for `pretrained_model: True`, which names none.
        """
        named = self.global_.pretrained_model
        if named is True:
            raise UserError(
                f"{self.name}: Global.pretrained_model is True, which names no weights: write a path or "
                "URL, or Arch.Backbone.pretrained: True for those of the backbone"
            )
        return named or self.global_.checkpoints

    @property
    def arch(self) -> Section:
        """Backbone, stop layer, neck and head; empty where the recipe has none."""
        return self._section("Arch") or RecipeSection(place=self.tree.place_of("Arch"))

    @property
    def is_distillation(self) -> bool:
        """Whether `Arch` is a DistillationModel, which holds several models."""
        return self.arch.get("name") == "DistillationModel"

    @property
    def networks(self) -> dict[str, Section]:
        """The block of each model by its name: those of a DistillationModel, else `Arch` itself under "".

        A backbone alone is put where the block of a RecModel has it.
        """
        if not self.is_distillation:
            return {"": self.arch} if self.arch else {}
        found: dict[str, Section] = {}
        for entry in self.arch["models"]:
            for name, block in entry.items():
                alone = block.get("name") != "RecModel" and "Backbone" not in block
                found[name] = RecipeSection({"Backbone": block}, block.place) if alone else block
        return found

    @property
    def network(self) -> Section:
        """The block of the model that is scored, exported and embedded with.

        Of a DistillationModel it is that of `infer_model_name`, with what `Arch` says of the export.
        """
        if not self.is_distillation:
            return self.arch
        block = self.networks.get(self.student)
        if block is None:
            raise self.arch.place_of("infer_model_name").error(
                f"there is no model '{self.student}' among {', '.join(self.networks)}"
            )
        said = {key: self.arch[key] for key in ("infer_output_key", "infer_add_softmax") if key in self.arch}
        merged = relocated(block)
        for key, value in said.items():
            merged[key], merged.places[key] = value, self.arch.place_of(key)
        return merged

    @property
    def student(self) -> str:
        """The name of that model in a DistillationModel."""
        return str(self.arch.get("infer_model_name") or "Student")

    @property
    def optimizer(self) -> Section | SectionList:
        """The optimizer, or a list of them; empty where the recipe has none."""
        return self.tree.get("Optimizer") or RecipeSection(place=self.tree.place_of("Optimizer"))

    @property
    def data(self) -> DataBlocks | None:
        """The blocks of `DataLoader`, None where the recipe has no `DataLoader`."""
        blocks = self._section("DataLoader")
        if blocks is None:
            return None
        return DataBlocks(*(blocks.get(block.name) for block in fields(DataBlocks)))

    @property
    def loss_train(self) -> SectionList:
        return self._list("Loss", "Train")

    @property
    def losses_unlabelled(self) -> SectionList:
        """The losses of unlabelled pictures."""
        return self._list("UnLabelLoss", "Train")

    def losses(self, part: str) -> SectionList:
        """The losses of any part, such as `MetaTrain`; empty where the recipe has none."""
        return self._list("Loss", part)

    @property
    def semi_supervised(self) -> SemiSupervised:
        """How pseudo labels are made."""
        return SemiSupervised.model_validate(self._section("SSL") or {})

    @property
    def loss_eval(self) -> SectionList:
        return self._list("Loss", "Eval")

    @property
    def metrics_train(self) -> SectionList:
        return self._list("Metric", "Train")

    @property
    def metrics_eval(self) -> SectionList:
        return self._list("Metric", "Eval")

    @property
    def rec_pre_process(self) -> Section | None:
        return self._section("RecPreProcess")

    @property
    def rec_post_process(self) -> Section | None:
        return self._section("RecPostProcess")

    def _section(self, key: str) -> Section | None:
        value = self.tree.get(key)
        return value if isinstance(value, Section) else None

    def _list(self, key: str, part: str) -> SectionList:
        parent = self._section(key)
        place = parent.place_of(part) if parent is not None else self.tree.place_of(key).at(part)
        found = parent.get(part) if parent is not None else None
        return found if isinstance(found, SectionList) else RecipeList(place=place)

    def _settle(self) -> None:
        """What follows from two sections together."""
        settings, given = self.global_, self.global_.model_fields_set
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
