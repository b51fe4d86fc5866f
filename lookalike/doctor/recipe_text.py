"""The text of a new recipe, a comment beside every choice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lookalike.doctor.choices import Choices
from lookalike.doctor.split import MIN_CLASSES
from lookalike.recipe.reading import python_literal


@dataclass(frozen=True)
class Facts:
    """What the comments tell of the data. `lists` are the list files by part; no validation where it is
    absent.
    """

    data: str
    schema: str | None
    pictures: int
    classes: int
    by_class: bool
    root: str
    lists: dict[str, Path]
    counts: dict[str, tuple[int, int]]
    seed: int


def recipe_text(facts: Facts, choices: Choices) -> str:
    """The YAML text of a recipe that runs."""
    lines = [
        *_global(facts, choices),
        *_model(choices),
        *_training(choices),
        *_data(facts, choices),
        *_METRIC,
    ]
    return "\n".join([*_heading(facts), *map(_aligned, lines), ""])


def _aligned(line: str) -> str:
    """A line with its comment in the column where the others have theirs."""
    text, mark, comment = line.rpartition("  # ")
    if not mark or not text.strip() or line.endswith('"'):  # a path may hold the same letters
        return line
    return f"{text.rstrip():<36} # {comment}"


def quoted(value: str | Path) -> str:
    """A text as YAML takes it, whatever letters it holds."""
    text = str(value)
    if python_literal(text) is not text:  # a folder named None or [1]
        text = f"./{text}"
    return json.dumps(text, ensure_ascii=False)


def duration(minutes: float) -> str:
    """`a minute`, `25 minutes`, `3.5 hours`, as it stands after "about"."""
    if minutes < 1:
        return "a minute"
    if minutes < 90:
        whole = round(minutes) if minutes < 10 else 5 * round(minutes / 5)
        return f"{whole} minute{'s' if whole > 1 else ''}"
    return f"{minutes / 60:.1f} hours"


def _heading(facts: Facts) -> list[str]:
    lines = [f"# yaml-language-server: $schema={facts.schema}"] if facts.schema else []
    train, query, gallery = (facts.counts[part] for part in ("train", "query", "gallery"))
    lines += [
        "#",
        f"# Written by `lookalike init` for {json.dumps(facts.data, ensure_ascii=False)}: {facts.pictures} "
        f"pictures of {facts.classes} classes.",
    ]
    if facts.by_class:
        lines += [
            f"# Trained on {train[1]} classes, scored on others that it never sees ({query[0]} queries, "
            f"{gallery[0]} gallery pictures).",
        ]
    else:
        lines += [
            f"# Fewer than {MIN_CLASSES} classes: none is held out, and the figures are those of other "
            f"pictures of known classes",
            f"# ({train[0]} train, {query[0]} queries, {gallery[0]} gallery pictures).",
        ]
    return [
        *lines,
        "# Paths are seen from the folder in which lookalike is run. Any key can be changed there, such as "
        "-o Global.epochs=5",
    ]


def _global(facts: Facts, choices: Choices) -> list[str]:
    every = max(1, choices.epochs // 20)
    scored = "Validation" if "validation" in facts.lists else "Eval"
    return [
        "Global:",
        "  output_dir: ./output  # checkpoints and logs; runs side by side need one each",
        "  device: auto                 # a GPU where there is one, else the CPU",
        f"  seed: {facts.seed}",
        f"  epochs: {choices.epochs}  # about {duration(choices.minutes)} on two CPU cores; `lookalike "
        f"check` measures it",
        "  save_interval: 0             # keep `latest` and `best_model` only",
        f"  eval_interval: {every}  # epochs between two scores of {scored}",
        "  print_batch_step: 10",
        f"  image_shape: [3, {choices.size}, {choices.size}]  # another size: init again with --size, as it "
        f"stands in several places",
        "  save_inference_dir: ./inference  # what `lookalike export` writes",
        "  eval_mode: retrieval         # each query searches the gallery",
        "",
    ]


def _model(choices: Choices) -> list[str]:
    lines = [
        "Arch:",
        "  name: RecModel",
        "  infer_output_key: features   # the embedding is what comes before the head",
        "  infer_add_softmax: False",
        "  Backbone:",
        f"    name: {choices.backbone}  # {_why_backbone(choices)}",
    ]
    lines += [f"    {key}: {json.dumps(value)}" for key, value in choices.backbone_arguments.items()]
    lines += _pretrained(choices)
    if choices.stop_layer:
        lines += [
            "  BackboneStopLayer:",
            f"    name: {choices.stop_layer}  # the end of the network, before any classifier",
        ]
    lines += [
        "  # For shorter embeddings (Head.embedding_size is then 256 as well):",
        f"  # Neck: {{name: FC, embedding_size: {choices.width}, class_num: 256}}",
        "  Head:  # a classifier that only training needs",
        "    name: CosMargin  # cosine to each class; the own one is made harder by the margin",
        f"    embedding_size: {choices.width}",
        f"    class_num: {choices.class_num}  # classes of the training list",
        "    margin: 0.0  # none, as the weights are good to begin with"
        if choices.pretrained
        else "    margin: 0.2  # up to 0.5 for large sets",
        f"    scale: {16 if choices.pretrained else 24}",
    ]
    if choices.frozen:
        lines += [
            f"  freeze: [{', '.join(choices.frozen)}]  # edges and colours are known",
            "  freeze_norm_statistics: all  # batches of few classes would spoil those of the weights",
        ]
    return [*lines, ""]


def _why_backbone(choices: Choices) -> str:
    if choices.tiny:
        return "four plain layers, enough for small pictures"
    if choices.backbone.startswith("timm/"):
        return "any network of timm.list_models() fits here"
    return "see `lookalike recipe schema` for the others"


def _pretrained(choices: Choices) -> list[str]:
    named = "./weights.safetensors"
    if isinstance(choices.pretrained, str):
        return [f"    pretrained: {quoted(choices.pretrained)}   # a local file"]
    if choices.pretrained:
        return [
            f"    pretrained: True           # fetched once, by network; a local file: pretrained: {named}"
        ]
    if choices.tiny:
        return []
    why = "learned from nothing" if choices.fetchable else "no published weights fit it: learned from nothing"
    return [f"    pretrained: False          # {why}; weights of a local file: pretrained: {named}"]


def _training(choices: Choices) -> list[str]:
    return [
        "Loss:",
        "  Train:",
        "    - CELoss:                  # tells the training classes apart",
        "        weight: 1.0",
        "    - SupConLoss:  # pulls the pictures of a class together, away from all others of the batch",
        "        weight: 1.0",
        "        temperature: 0.1",
        "        base_temperature: 0.1",
        "",
        "Optimizer:",
        "  name: AdamW",
        f"  weight_decay: {'0.0001' if choices.pretrained else '0.05'}",
        "  one_dim_param_no_weight_decay: True",
        *(
            ["  backbone_lr_multiplier: 0.1  # gentle, not to spoil the pretrained weights"]
            if choices.pretrained
            else []
        ),
        "  lr:",
        "    name: Cosine               # falls to 0 at the last step",
        f"    learning_rate: {choices.learning_rate:g}",
        f"    warmup_epoch: {choices.warmup}  # rises from 0 for so long",
        "",
        "EMA:                           # a running mean of the weights is scored and kept: steadier than "
        "the last step",
        "  decay: 0.99",
        "  warmup: True                 # shorter memory at the beginning",
        "  skip_raw_evaluation: True",
        "",
    ]


def _data(facts: Facts, choices: Choices) -> list[str]:
    lines = [
        "DataLoader:",
        "  Train:",
        *_dataset(facts, "train", 4),
        *(["      cache: ram  # decoded once and kept in memory"] if choices.cached else []),
        *_augmentations(choices),
        "    sampler:",
        f"      name: PKSampler          # {choices.identities} classes with {choices.per_identity} pictures "
        f"each, so that every picture has its like in the batch",
        f"      batch_size: {choices.batch_size}",
        f"      sample_per_id: {choices.per_identity}",
        "      drop_last: False         # the last batch is filled up",
        *_sample_method(choices),
        "    loader: &reading",
        f"      num_workers: {0 if choices.tiny else 2}           # processes that read pictures; 0 reads in "
        f"the training process",
        "",
    ]
    first = "validation" if "validation" in facts.lists else "query"
    if "validation" in facts.lists:
        what = "classes held out from training" if facts.by_class else "pictures held out from training"
        lines += [
            f"  Validation:                  # {what}, searched among themselves: chooses best_model",
            *_scored(facts, choices, "validation", 4, first),
            "",
            "  Eval:                        # looked at once, at the end: nothing was chosen on it",
        ]
    else:
        lines += [
            "  Eval:                        # too few pictures for a Validation: this also chooses best_model"
        ]
    for part in ("query", "gallery"):
        lines += [f"    {part.capitalize()}:", *_scored(facts, choices, part, 6, first)]
    return [*lines, ""]


def _dataset(facts: Facts, part: str, indent: int) -> list[str]:
    pictures, classes = facts.counts[part]
    pad = " " * indent
    return [
        f"{pad}dataset:                   # {pictures} pictures of {classes} classes",
        f"{pad}  name: ImageNetDataset",
        f"{pad}  image_root: {quoted(facts.root)}",
        f"{pad}  cls_label_path: {quoted(facts.lists[part])}",
        f'{pad}  delimiter: "\\t"',
    ]


def _numbers(values: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]"


def _how_resized(choices: Choices, pad: str) -> list[str]:
    lines = []
    if choices.interpolation != "bilinear":
        lines += [f"{pad}interpolation: {choices.interpolation}"]
    if choices.antialias:
        lines += [f"{pad}backend: pil  # averages over what it shrinks"]
    return lines


def _augmentations(choices: Choices) -> list[str]:
    lines = ["      transform_ops:"]
    if choices.tiny:
        lines += [
            "        - ResizeImage:",
            f"            size: {choices.size}",
            *_how_resized(choices, " " * 12),
            "        - RandomAffine:  # seen a little from the side; no mirroring: a mirrored sign is "
            "another one",
            "            degrees: 15",
            "            shear: 10",
            "            scale: [0.86, 1.16]",
            "            translate: 0.1",
            f"            fill: {choices.fill}",
        ]
    else:
        lines += [
            "        - PadSquare:  # keeps the proportions",
            f"            fill: {choices.fill}",
            "        - RandCropImage:  # a part of at least 30 % of the picture",
            f"            size: {choices.size}",
            "            scale: [0.3, 1.0]",
            "            use_log_aspect: True",
            *_how_resized(choices, " " * 12),
        ]
    if choices.mirror:
        lines += [
            "        - RandFlipImage:  # remove it where a mirrored picture is another thing (text, logos)",
            "            flip_code: 1",
        ]
    if choices.colour:
        lines += [
            "        - ColorJitter:  # other light; remove it where colour tells the classes apart",
            "            brightness: 0.3",
            "            contrast: 0.3",
            "            saturation: 0.3",
        ]
    why = "as the weights were trained" if choices.pretrained else "mean and deviation of these pictures"
    return [
        *lines,
        f"        - NormalizeImage: &normalisation   # {why}",
        "            scale: 1.0/255.0",
        f"            mean: {_numbers(choices.mean)}",
        f"            std: {_numbers(choices.deviation)}",
        "            order: hwc",
    ]


def _sample_method(choices: Choices) -> list[str]:
    if choices.even_classes:
        return []
    return [
        "      sample_method: id_avg_prob   # some classes have many more pictures: all are drawn equally "
        "often"
    ]


def _scored(facts: Facts, choices: Choices, part: str, indent: int, first: str) -> list[str]:
    pad = " " * indent
    lines = _dataset(facts, part, indent)
    if part != first:
        return [
            *lines,
            f"{pad}  transform_ops: *evaluation",
            f"{pad}sampler: *evaluation_sampler",
            f"{pad}loader: *reading",
        ]
    deeper = pad + "    "
    return [
        *lines,
        f"{pad}  transform_ops: &evaluation",
        f"{deeper}- PadSquare:           # keeps the proportions",
        f"{deeper}    fill: {choices.fill}",
        f"{deeper}- ResizeImage:",
        f"{deeper}    size: {choices.size}",
        *_how_resized(choices, deeper + "    "),
        f"{deeper}- NormalizeImage: *normalisation",
        f"{pad}sampler: &evaluation_sampler",
        f"{pad}  name: DistributedBatchSampler",
        f"{pad}  batch_size: {min(64, max(8, choices.batch_size))}",
        f"{pad}  drop_last: False",
        f"{pad}  shuffle: False",
        f"{pad}loader: *reading",
    ]


_METRIC = [
    "Metric:",
    "  Eval:",
    "    - Recallk:  # share of queries with their class among the first k; recall1 chooses best_model",
    "        topk: [1, 5]",
    "    - mAP: {}",
]
