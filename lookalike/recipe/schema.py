"""The form of a recipe: which sections there are, and which keys they take.

These models check what a recipe says between the components. The arguments of a component are checked by
the builder that makes it, against the signature of what its registry holds; here a component is only
marked with the kind it is of, for the JSON schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from lookalike.core.numbers import Number
from lookalike.recipe.global_keys import Global

COMPONENT = "x-component"
"""Key in a JSON schema that names the definition of a component."""


@dataclass(frozen=True)
class OfKind:
    """Marks a value that a builder checks: a component with a key `name`, or with its name as its only key.

    `keyed` is the second form, as lists of losses and transforms write it; `several` also allows a list
    of such entries.
    """

    kind: str
    keyed: bool = False
    several: bool = False
    named: bool = True

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        # not "$ref": the definition is added later, out of a registry
        one = {COMPONENT: f"{self.kind}_entry" if self.keyed else self.kind}
        if self.several:
            return {"anyOf": [one, {"type": "array", "items": {COMPONENT: f"{self.kind}_entry"}}]}
        return one

    def _check(self, value: Any) -> Any:
        if self.several and isinstance(value, list):
            return [OfKind(self.kind, keyed=True)._check(entry) for entry in value]
        if not self.named:
            if isinstance(value, Mapping):
                return value
            raise ValueError(f"must be a section of keys, got {value!r:.60}")
        if self.keyed:
            if isinstance(value, str) or (
                isinstance(value, Mapping) and (len(value) == 1 or "name" in value)
            ):
                return value
            raise ValueError(f"expected one {self.kind}, written as '- Name: {{argument: value}}'")
        if isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get("name"), str)):
            return value
        article = "an" if self.kind[0] in "aeiou" else "a"
        raise ValueError(f"expected {article} {self.kind}, written as a section with a key 'name'")


class Part(BaseModel):
    """A section that takes the keys below and no others."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


NO_EFFECT = "Has no effect: "
"""How the description of a key begins that is read and means nothing here."""


def _without_effect(reason: str, alias: str | None = None) -> Any:
    """A key of the reference that means nothing here; who gives it is told the reason."""
    extra: dict[str, Any] = {"deprecated": True}
    return Field(None, alias=alias, description=NO_EFFECT + reason, json_schema_extra=extra)


def _known_arch(name: Any) -> Any:
    if name != "RecModel":
        raise ValueError("must be RecModel or DistillationModel")
    return name


class StopLayer(Part):
    """Where the backbone is cut."""

    name: str = Field(description="Layer of the backbone whose output is used, such as flatten or avg_pool")
    output_dim: Any = _without_effect("the layer decides the width")


class Arch(Part):
    """Backbone, neck and head."""

    name: Annotated[Literal["RecModel"], BeforeValidator(_known_arch)] = "RecModel"
    infer_output_key: str | None = None
    infer_add_softmax: bool = True
    is_rec: bool | None = _without_effect("a RecModel always gives embeddings")
    use_sync_bn: bool | None = Field(None, description="Batch norms over all processes, on GPUs")
    head_feature_from: Literal["neck", "backbone"] = "neck"
    freeze: str | list[str] | None = Field(None, description="Parts of the model that are not trained")
    freeze_norm_statistics: bool | Literal["all"] = Field(
        True,
        description="Batch norms that keep their statistics: of frozen parts, none, or all",
    )
    backbone: Annotated[Any, OfKind("backbone")] = Field(alias="Backbone")
    stop_layer: StopLayer | None = Field(None, alias="BackboneStopLayer")
    neck: Annotated[Any, OfKind("neck", several=True)] | None = Field(
        None, alias="Neck", description="A neck, or a list of necks that run one after the other"
    )
    head: Annotated[Any, OfKind("head")] | None = Field(None, alias="Head")

    @classmethod
    def fits(cls, value: Any) -> bool:
        """Whether a section is one of this form, rather than of several models or of a backbone alone."""
        if not isinstance(value, Mapping):
            return False
        named = value.get("name", "RecModel")
        return named == "RecModel" or ("Backbone" in value and named != "DistillationModel")


def _of_several(value: Any) -> str:
    return "RecModel" if isinstance(value, Arch) or Arch.fits(value) else "backbone"


class DistillationArch(Part):
    """Several models that see the same pictures: teachers and their student, or peers."""

    name: Literal["DistillationModel"]
    models: Annotated[
        list[
            Annotated[
                dict[
                    str,
                    Annotated[
                        Annotated[Arch, Tag("RecModel")]
                        | Annotated[Any, OfKind("backbone"), Tag("backbone")],
                        Discriminator(_of_several),
                    ],
                ],
                Field(min_length=1, max_length=1),
            ]
        ],
        Field(min_length=1),
    ] = Field(description="One model an entry, `- Teacher: {…}`: a RecModel, or a backbone with class scores")
    infer_model_name: str = Field("Student", description="The model that is scored and exported")
    infer_output_key: str | None = None
    infer_add_softmax: bool | None = None
    freeze_params_list: list[bool | None] | None = Field(
        None, description="For each model whether it is frozen; a frozen one stays in evaluation mode"
    )
    pretrained_list: list[str | bool | None] | None = Field(
        None, description="For each model the weights it starts from: a path, a URL, or null"
    )
    use_sync_bn: bool | None = Field(None, description="Batch norms over all processes, on GPUs")
    is_rec: bool | None = _without_effect("the models say what they are")
    class_num: Any = _without_effect("the head of each model has its own")

    @classmethod
    def fits(cls, value: Any) -> bool:
        """Whether a section is one of this form."""
        return isinstance(value, Mapping) and value.get("name") == "DistillationModel"


def _kind_of_arch(value: Any) -> str:
    several = isinstance(value, DistillationArch) or DistillationArch.fits(value)
    return "DistillationModel" if several else "RecModel"


AnyArch = Annotated[
    Annotated[Arch, Tag("RecModel")] | Annotated[DistillationArch, Tag("DistillationModel")],
    Discriminator(_kind_of_arch),
]


class Loss(Part):
    """Lists of losses, summed with their weights."""

    train: list[Annotated[Any, OfKind("loss", keyed=True)]] | None = Field(None, alias="Train")
    eval: list[Annotated[Any, OfKind("loss", keyed=True)]] | None = Field(None, alias="Eval")
    basic: list[Annotated[Any, OfKind("loss", keyed=True)]] | None = Field(
        None, alias="Basic", description="Of the ordinary update of train_mode metabin"
    )
    meta_train: list[Annotated[Any, OfKind("loss", keyed=True)]] | None = Field(
        None, alias="MetaTrain", description="Of the domains with the inner step of train_mode metabin"
    )
    meta_test: list[Annotated[Any, OfKind("loss", keyed=True)]] | None = Field(
        None, alias="MetaTest", description="Of the other domains, after that step"
    )


class UnlabelledLoss(Part):
    """Losses of the unlabelled pictures of train_mode fixmatch and fixmatch_ccssl."""

    train: list[Annotated[Any, OfKind("loss", keyed=True)]] | None = Field(None, alias="Train")


class SemiSupervised(Part):
    """Pseudo labels of train_mode fixmatch and fixmatch_ccssl."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), populate_by_name=True)

    temperature: Annotated[Number, Field(gt=0)] = Field(
        1.0,
        alias="T",
        validation_alias=AliasChoices("T", "temperture", "temperature"),
        description="Logits are divided by it before the softmax",
    )
    threshold: Annotated[Number, Field(ge=0, le=1)] = Field(
        0.95, description="Probability from which a pseudo label counts"
    )


class Metric(Part):
    """Lists of metrics; the first of Eval says which checkpoint is best."""

    train: list[Annotated[Any, OfKind("metric", keyed=True)]] | None = _without_effect(
        "metrics of training batches are not computed", alias="Train"
    )
    eval: list[Annotated[Any, OfKind("metric", keyed=True)]] | None = Field(None, alias="Eval")


class Data(Part):
    """A dataset with the way it is read."""

    dataset: Annotated[Any, OfKind("dataset")]
    sampler: Annotated[Any, OfKind("sampler")] | None = None
    batch_sampler: Annotated[Any, OfKind("sampler")] | None = None
    loader: Annotated[Any, OfKind("loader", named=False)] | None = None


class MetaData(Part):
    """The batches that train_mode metabin cuts by domain; `Train` is a block of its own, or stands here."""

    train: Data | None = Field(None, alias="Train")
    dataset: Annotated[Any, OfKind("dataset")] | None = None
    sampler: Annotated[Any, OfKind("sampler")] | None = None
    batch_sampler: Annotated[Any, OfKind("sampler")] | None = None
    loader: Annotated[Any, OfKind("loader", named=False)] | None = None


class EvalData(Part):
    """Query and Gallery, or a single block that is both, or one plain dataset."""

    query: Data | None = Field(None, alias="Query")
    gallery: Data | None = Field(None, alias="Gallery")
    test: Data | None = Field(None, alias="Test", description="A single block, query and gallery in one")
    eval: Data | None = Field(None, alias="Eval", description="A single block, query and gallery in one")
    dataset: Annotated[Any, OfKind("dataset")] | None = None
    sampler: Annotated[Any, OfKind("sampler")] | None = None
    batch_sampler: Annotated[Any, OfKind("sampler")] | None = None
    loader: Annotated[Any, OfKind("loader", named=False)] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> EvalData:
        blocks = [block for block in (self.query, self.gallery, self.test, self.eval) if block is not None]
        if self.dataset is not None and blocks:
            raise ValueError("holds both 'dataset' and 'Query' or 'Gallery'; keep one of the two forms")
        if self.dataset is None and not blocks:
            raise ValueError("needs 'Query' and 'Gallery', or 'dataset'")
        if len(blocks) > 1 and not (len(blocks) == 2 and self.query and self.gallery):
            raise ValueError("needs 'Query' and 'Gallery', or a single block for both")
        return self


class DataLoader(Part):
    """The images to train and to evaluate on."""

    train: Data | None = Field(None, alias="Train")
    metalearning: MetaData | None = Field(
        None, alias="Metalearning", description="Second loader of train_mode metabin"
    )
    unlabelled: Data | None = Field(
        None, alias="UnLabelTrain", description="Unlabelled pictures of train_mode fixmatch, fixmatch_ccssl"
    )
    eval: EvalData | None = Field(None, alias="Eval")
    validation: EvalData | None = Field(
        None,
        alias="Validation",
        description="Scored while training; Eval then waits for the end",
    )
    mean: Any = _without_effect("the operations of each data set normalise")
    std: Any = _without_effect("the operations of each data set normalise")


class Amp(Part):
    """Mixed precision."""

    use_amp: bool = Field(True, description="Whether it is on; a section AMP without this key turns it on")
    level: Literal["O1", "O2"] = Field("O1", description="O1: chosen operations; O2: the whole network")
    dtype: Literal["float16", "bfloat16"] | None = Field(
        None, description="float16 on a GPU and bfloat16 on the CPU when not given"
    )
    scale_loss: Annotated[Number, Field(gt=0)] = Field(1.0, description="Factor on the loss")
    use_dynamic_loss_scaling: bool = Field(False, description="Adapt the factor while training")
    use_fp16_test: bool = Field(False, description="Evaluate in mixed precision as well")
    use_promote: Any = _without_effect("PyTorch promotes types by itself")


class Ema(Part):
    """A running mean of the weights that is evaluated and saved beside them."""

    decay: Annotated[Number, Field(gt=0, lt=1)] = Field(0.9999, description="Share of the mean that stays")
    warmup: bool = Field(False, description="Grow the decay from (1 + step) / (10 + step) up to its value")
    skip_raw_evaluation: bool = Field(False, description="Evaluate the mean only")


class Prune(Part):
    """Filters that are taken out of every convolution before training goes on."""

    name: Literal["fpgm", "l1_norm"] = Field(
        description="Which filters go: those nearest to all others (fpgm), or the smallest ones (l1_norm)"
    )
    pruned_ratio: Annotated[Number, Field(gt=0, lt=1)] = Field(description="Share that is taken out of each")
    multiple_of: Annotated[int, Field(ge=1)] = Field(
        1,
        description="What is left of a convolution is the multiple of this below: 8 suits processors, and "
        "takes more than the share from narrow ones",
    )


class Quant(Part):
    """Training on with weights and activations rounded to 8 bits, for an int8 model folder."""

    name: Literal["pact", "moving_average"] = Field(
        description="Range of activations: a running one (moving_average), clipped as training wants (pact)"
    )


class Slim(Part):
    """What `train` does to trained weights to make the model smaller and faster."""

    prune: Prune | None = None
    quant: Quant | None = None


class Process(Part):
    """Preprocessing of the deployment files."""

    transform_ops: list[Annotated[Any, OfKind("operation", keyed=True)]] | None = None


class Binarize(Part):
    """An embedding as bits: above 0.5 (`round`) or above 0 (`sign`)."""

    method: Literal["round", "sign"] = "round"


class RecPostProcess(Part):
    """What happens to an embedding after the network."""

    main_indicator: str | None = Field(
        None, description="Without effect: Binarize is the only step there is, and is done where it is given"
    )
    binarize: Binarize | None = Field(None, alias="Binarize")


class IndexProcess(Part):
    """How a gallery is built and searched."""

    index_method: str = Field("HNSW32", description="Kind of index: HNSW32, IVF, Flat")
    image_root: str | None = None
    index_dir: str | None = None
    data_file: str | None = None
    index_operation: Literal["new", "append", "remove"] = "new"
    delimiter: str = "\t"
    dist_type: Literal["IP", "L2", "hamming"] = "IP"
    embedding_size: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 32
    return_k: Annotated[int, Field(ge=1)] = 5
    score_thres: Number | None = None
    hamming_radius: Number | None = None
    transform_ops: list[Annotated[Any, OfKind("operation", keyed=True)]] | None = Field(
        None, description="What RecPreProcess.transform_ops is, where a recipe has no RecPreProcess"
    )


class RecipeForm(Part):
    """A recipe: model, losses, data, optimizer and the settings of a run."""

    global_: Global = Field(default_factory=lambda: Global.model_validate({}), alias="Global")
    amp: Amp | None = Field(None, alias="AMP")
    ema: Ema | None = Field(None, alias="EMA")
    slim: Slim | None = Field(None, alias="Slim")
    arch: AnyArch | None = Field(None, alias="Arch")
    loss: Loss | None = Field(None, alias="Loss")
    unlabelled_loss: UnlabelledLoss | None = Field(None, alias="UnLabelLoss")
    semi_supervised: SemiSupervised | None = Field(None, alias="SSL")
    optimizer: Annotated[Any, OfKind("optimizer", several=True)] | None = Field(None, alias="Optimizer")
    data_loader: DataLoader | None = Field(None, alias="DataLoader")
    metric: Metric | None = Field(None, alias="Metric")
    rec_pre_process: Process | None = Field(None, alias="RecPreProcess")
    rec_post_process: RecPostProcess | None = Field(None, alias="RecPostProcess")
    index_process: IndexProcess | None = Field(None, alias="IndexProcess")


IGNORED_SECTIONS = {
    "profiler_options": "profile with PyTorch's own profiler",
    "Infer": "`lookalike embed` and `lookalike search` take a model folder",
    "DetPreProcess": "there is no detector here: the whole image is embedded",
    "DetPostProcess": "there is no detector here: the whole image is embedded",
    "Eval": "`lookalike eval` reads DataLoader.Eval",
}
"""Sections of the reference's files that are read and have no effect, each with the reason."""


def section_names() -> list[str]:
    """The sections a recipe may have at its top."""
    return [str(field.alias) for field in RecipeForm.model_fields.values()]
