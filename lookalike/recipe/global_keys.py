"""The keys of `Global`: those of the reference, and ours.

The reference's keys keep their names and defaults. Those that are written differently here, or mean
nothing here, are listed once below; everything else that is not a field of `Global` is an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from lookalike.core.numbers import Number
from lookalike.recipe.views import Views, checked_scales


def _not_a_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


Whole = Annotated[int, BeforeValidator(_not_a_bool)]
"""A whole number; true and false are none."""
Count = Annotated[Whole, Field(ge=1)]
Factor = Annotated[Number, BeforeValidator(_not_a_bool)]

OTHER_NAMES = {
    "checkpoint": "checkpoints",
    "use_visualdl": "tensorboard",
    "cpu_num_threads": "num_threads",
}
"""Other names of keys, as the reference's files and documents write them."""

_NO_DETECTOR = "there is no detector here: the whole image is embedded"
_RUNTIME = "the runtime chooses this by itself"

WITHOUT_MEANING = {
    "use_dali": "images are read by worker processes, see DataLoader.Train.loader.num_workers",
    "to_static": "there is no static graph here",
    "log_ranks": "only the first process writes logs",
    "print_mem_info": "`lookalike check` tells the memory beforehand",
    "uniform_output_enabled": "output_dir always holds latest, best_model and epoch_N",
    "export_for_fd": "`lookalike export` writes one kind of model folder",
    "pdx_model_name": "it names a model for another program",
    "hpi_config_path": "it configures another program",
    "use_multilabel": "an image has one label",
    "max_num_latest_checkpoint": "there is one `latest`, always whole",
    "use_fused_attn": _RUNTIME,
    "use_fused_linear": _RUNTIME,
    "det_inference_model_dir": _NO_DETECTOR,
    "rec_nms_thresold": _NO_DETECTOR,
    "threshold": _NO_DETECTOR,
    "max_det_results": _NO_DETECTOR,
    "label_list": _NO_DETECTOR,
    "labe_list": _NO_DETECTOR,
    "enable_mkldnn": _RUNTIME,
    "use_fp16": _RUNTIME,
    "use_int8": "a quantised model folder says so itself",
    "ir_optim": _RUNTIME,
    "use_tensorrt": _RUNTIME,
    "gpu_mem": _RUNTIME,
    "use_onnx": "a model folder is ONNX always",
    "enable_benchmark": "see the scripts in benchmarks/",
    "benchmark": "see the scripts in benchmarks/",
    "enable_profile": "see the scripts in benchmarks/",
    "model_name": "the model folder knows its name",
    "save_log_path": "logs go to stderr",
    "android_demo": "an index without ids is not written",
}
"""Keys of the reference that are read and have no effect, each with the reason. A key whose value
switches it off is not mentioned."""

_DEVICES = "auto|cpu|gpu|cuda|mps|xpu|npu|mlu|gcu|ascend|intel_gpu"


class Global(BaseModel):
    """Settings of a whole run."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())

    output_dir: str = Field("./output", description="Folder for checkpoints and logs")
    pretrained_model: str | bool | None = Field(
        None, description="Weights to start from: a checkpoint folder, .pdparams, .safetensors or a URL"
    )
    checkpoints: str | None = Field(None, description="Checkpoint folder to resume from")
    save_inference_dir: str = Field("./inference", description="Folder that `export` writes")
    license: str | None = Field(None, description="Licence of the weights, kept in the model folder")

    epochs: Count = Field(100, description="Passes over the training images")
    iter_per_epoch: Count | None = Field(
        None, description="Steps that count as an epoch; all batches when not given"
    )
    update_freq: Count = Field(1, description="Batches whose gradients are averaged into one update")
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] | None = Field(
        None, description="Seed of everything that is random"
    )
    device: str = Field("auto", pattern=f"^({_DEVICES})(:[0-9]+)?$", description="auto, cpu, gpu, mps, …")
    require_gpu: bool = Field(False, description="Fail where `device` asks for a GPU and there is none")
    num_threads: Count | None = Field(None, description="Threads of one process on the CPU")
    deterministic: bool = Field(False, description="Only algorithms that give the same bits again")
    reference_behaviour: bool = Field(
        False, description="The reference's arithmetic, its mistakes included, to compare with its tables"
    )
    train_mode: Literal["progressive", "fixmatch", "fixmatch_ccssl", "metabin"] | None = Field(
        None, description="null: the ordinary loop; metabin, fixmatch, fixmatch_ccssl: see docs/training.md"
    )
    warmup_iter: Count | None = Field(
        None, description="Ordinary updates of train_mode metabin in its very first iteration"
    )

    print_batch_step: Count = Field(10, description="Steps between two log lines")
    save_interval: Whole = Field(1, description="Epochs between two kept checkpoints; 0 keeps none")
    tensorboard: bool = Field(True, description="Write curves for TensorBoard")

    eval_during_train: bool = Field(True, description="Evaluate while training")
    eval_interval: Count = Field(1, description="Epochs between two evaluations")
    start_eval_epoch: Annotated[Whole, Field(ge=0)] = Field(0, description="First epoch that is evaluated")
    eval_mode: Literal["retrieval", "classification", "adaface"] = Field(
        "retrieval", description="What evaluation measures; the reference's default is classification"
    )
    retrieval_feature_from: Literal["features", "backbone"] = Field(
        "features", description="Which output of the model is the embedding"
    )
    feature_normalize: bool = Field(True, description="Scale embeddings to length 1 before they are compared")
    feature_binarize: Literal["round", "sign"] | None = Field(
        None, description="Turn embeddings into codes of -1 and 1"
    )
    re_ranking: bool = Field(False, description="Re-rank by k-reciprocal neighbours")
    test_time_flip: bool = Field(
        False, description="Score the mean feature of each picture and its mirror image"
    )
    test_time_scales: list[Factor] = Field(
        default=[1.0], description="Score the mean feature of each picture in so many times its size"
    )
    sim_block_size: Count = Field(64, description="Queries that are compared at once")

    image_shape: Annotated[list[Count], Field(min_length=3, max_length=3)] = Field(
        default=[3, 224, 224], description="Channels, height, width"
    )
    class_num: Count | None = Field(None, description="Deprecated: Arch.Head.class_num is used")

    infer_imgs: str | list[str] | None = Field(None, description="Image or folder to embed")
    rec_inference_model_dir: str | None = Field(None, description="Model folder to embed with")
    batch_size: Count | None = Field(None, description="Images embedded at once")
    use_gpu: bool | None = Field(None, description="The deployment files' word for `device: gpu`")

    @field_validator("train_mode")
    @classmethod
    def _no_growing_pictures(cls, value: str | None) -> str | None:
        if value == "progressive":
            raise ValueError(
                "progressive training, whose pictures and augmentations grow, is not available; for pictures "
                "of several sizes there is MultiScaleSampler"
            )
        return value

    @field_validator("test_time_scales")
    @classmethod
    def _each_once(cls, value: list[float]) -> list[float]:
        checked_scales(value)
        return value

    @property
    def views(self) -> Views:
        """The views of `test_time_flip` and `test_time_scales`."""
        return Views(self.test_time_flip, self.test_time_scales)

    @property
    def use_visualdl(self) -> bool:
        """The reference's name of `tensorboard`."""
        return self.tensorboard


def known_keys() -> list[str]:
    """All keys that may stand in Global."""
    return [*Global.model_fields, *OTHER_NAMES, *WITHOUT_MEANING]
