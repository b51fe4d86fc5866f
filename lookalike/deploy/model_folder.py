"""The model folder: what `export` writes and everything downstream reads, without training code.

inference/
  model.onnx         the graph with its weights; it ends in the final feature
  model.safetensors  the same weights for PyTorch, whose modules `lookalike.json` names (`load_torch`)
  lookalike.json     the manifest: preprocessing, feature size and kind, fingerprint, figures, licence; from
                     which similarity on an answer is the same thing, once `calibrate` has found it
  README.md          the model card
  model.pt2          the same model as a program of torch.export; `export --pt2` adds it
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lookalike.core.errors import UserError
from lookalike.core.files import as_path, atomic_file, sha256, write_json
from lookalike.deploy.binary import Binarise
from lookalike.deploy.graph_input import InputKind, before_graph
from lookalike.deploy.model_card import card
from lookalike.deploy.thresholds import Thresholds, replaced_section
from lookalike.images import Preprocess
from lookalike.images.split import Pixels

MANIFEST = "lookalike.json"
GRAPH = "model.onnx"
WEIGHTS = "model.safetensors"
PROGRAM = "model.pt2"
CARD = "README.md"
FILES = (MANIFEST, CARD, GRAPH, WEIGHTS, PROGRAM)
"""All that a model folder may hold."""
SCHEMA_VERSION = 1

Precision = Literal["float32", "float16", "bfloat16", "int8"]


@dataclass
class ModelFolder:
    """The manifest of a model folder.

    shape: C, H, W of a preprocessed picture. input: what the graph takes, see
        `lookalike.deploy.graph_input`.
    output, size, normalized, binarize: kind of the feature: which output of the model, how many numbers,
        whether the graph ends in L2 normalisation, and how a number becomes a bit (None, `sign`, `round`).
    precision: that of the arithmetic; features are float32 in any.
    architecture: the modules that `weights` belong to, see `lookalike.deploy.architecture`.
    made_from: recipe, weights and training. metrics: figures of the model, taken on `metrics_data`.
    parity: how far the features of each runtime are from those of PyTorch (`lookalike.deploy.proof.parity`).
    quantisation: what a graph in 8 bits is made of and costs, see `lookalike.deploy.quantisation`.
    notes: further sections of the model card by their titles. files: SHA-256 of each file.
    thresholds: `Thresholds.to_json`, see `found_thresholds`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    path: Path
    shape: list[int]
    size: int
    normalized: bool
    binarize: Binarise | None
    preprocess: Any
    fingerprint: str
    input: InputKind = "float32_nchw"
    output: str = "features"
    precision: Precision = "float32"
    graph: str = GRAPH
    weights: str = WEIGHTS
    architecture: dict[str, Any] = field(default_factory=dict)
    license: str | None = None
    made_from: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    metrics_data: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    quantisation: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    thresholds: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def open(cls, path: str | Path) -> ModelFolder:
        """Read a model folder. Raises UserError when it is none, or of another version."""
        path = as_path(path, "a model folder")
        file = path / MANIFEST
        if not file.is_file():
            if path.is_file():
                raise UserError(f"{path} is a file: name the model folder in which it lies")
            what = "is not a model folder" if path.is_dir() else "does not exist"
            raise UserError(f"{path} {what}: no {MANIFEST} there (lookalike export writes one)")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{file} is damaged: {error}") from None
        told = values.get("schema_version") if isinstance(values, dict) else None
        if told != SCHEMA_VERSION:
            raise UserError(
                f"{file}: schema version {told} is not the version {SCHEMA_VERSION} that is read here; "
                "export the model again, or install the Lookalike that wrote it"
            )
        if "path" in values:
            raise UserError(f"{file} is damaged: it must not say where it is")
        try:
            folder = TypeAdapter(cls).validate_json(json.dumps({**values, "path": str(path)}))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{file} is damaged: {where}: {first['msg']}") from None
        if not folder.graph_file.is_file():
            raise UserError(f"{path} is damaged: {folder.graph} is missing")
        return folder

    @property
    def graph_file(self) -> Path:
        return self.path / Path(self.graph).name

    @property
    def weights_file(self) -> Path:
        return self.path / Path(self.weights).name

    def preprocessing(self) -> Preprocess:
        """The preprocessing that the model was scored with, all of it."""
        return Preprocess.from_json(self.preprocess)

    def before_graph(self) -> Preprocess | Pixels:
        """The part of it that comes before the graph, which makes of a source what that takes."""
        return before_graph(self.preprocessing(), self.input)

    def verify(self) -> None:
        """Raise UserError when the files are not those that the folder was written with.

        A folder may lack files that a runtime does not need; those that are there must be whole.
        """
        changed = [name for name in self.files if self._digest(name) != self.files[name]]
        if changed or self.computed_fingerprint() != self.fingerprint:
            which = f" ({', '.join(changed)})" if changed else ""
            raise UserError(
                f"{self.path}: the files do not fit the fingerprint in {MANIFEST}{which}; "
                "export the model again"
            )

    def computed_fingerprint(self) -> str:
        """Hash of graph, weights, preprocessing and feature kind; not of metrics, card, licence or
        thresholds.
        """
        kind = [self.input, self.output, self.size, self.normalized, self.binarize]
        described = json.dumps([self.preprocess, self.shape, kind], sort_keys=True, separators=(",", ":"))
        content = self._digest(self.graph_file.name) + self._digest(self.weights_file.name)
        return hashlib.sha256((content + described).encode()).hexdigest()

    def _digest(self, name: str) -> str:
        """Hash of a file; of one that was left away, what it was."""
        file = self.path / Path(name).name
        return sha256(file) if file.is_file() else self.files.get(name, "")

    def seal(self) -> None:
        """Take down what the files are, and the fingerprint. Whatever is in the folder belongs to it."""
        self.files = {
            file.name: sha256(file)
            for file in sorted(self.path.iterdir())
            if file.name not in (MANIFEST, CARD)
        }
        self.fingerprint = self.computed_fingerprint()

    def write(self) -> None:
        """Write the manifest and the model card."""
        write_json(self.path / MANIFEST, self._values())
        (self.path / CARD).write_text(self._card(), encoding="utf-8")

    def found_thresholds(self) -> Thresholds | None:
        """What `calibrate` found; None where it was not used. Raises UserError as `Thresholds.of_json`."""
        if not self.thresholds:
            return None
        return Thresholds.of_json(self.thresholds, self.fingerprint, f"{self.path / MANIFEST}: thresholds")

    def write_thresholds(self, found: Thresholds) -> None:
        """Put thresholds into the manifest and on the model card, of which the rest stays as it is on disk.

        Raises UserError where the folder holds another model than they were found with, and where it cannot
        be written.
        """
        file = self.path / CARD
        now = ModelFolder.open(self.path)  # calibration takes minutes, in which others may have written it
        if now.fingerprint != found.fingerprint:
            raise UserError(
                f"{self.path} holds another model than the thresholds were found with: calibrate again"
            )
        self.thresholds = now.thresholds = found.to_json()
        try:
            write_json(self.path / MANIFEST, now._values())
            text = file.read_text(encoding="utf-8") if file.is_file() else now._card()
            with atomic_file(file, "w") as out:
                out.write(replaced_section(text, "Thresholds", found.lines()))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"thresholds cannot be written into {self.path}: {error}") from None

    def _values(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "path"}

    def _card(self) -> str:
        text, found = card(self._values(), self.preprocessing()), self.found_thresholds()
        return text if found is None else replaced_section(text, "Thresholds", found.lines())


def refuse_foreign_folder(folder: Path, advice: str) -> None:
    """Raise UserError, which ends in `advice`, where a new model folder there would replace something else.

    An empty folder may be replaced, and one that holds a manifest and nothing but `FILES`.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, which a model folder there would replace: {advice}")
    inside = {path.name for path in folder.iterdir()}
    foreign = sorted(inside - set(FILES) if MANIFEST in inside else inside)
    if foreign:
        raise UserError(
            f"{folder} holds other things than a model folder ({', '.join(foreign[:3])}), which a model "
            f"folder there would replace: {advice}"
        )
