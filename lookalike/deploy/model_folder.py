"""The model folder: what `export` writes and everything downstream reads, without training code.

inference/
  model.onnx      the graph with its weights; it ends in L2 normalisation where the recipe asks for that
  model.json      preprocessing, feature size and kind, fingerprint, licence, what it was made from
  README.md       the model card
  thresholds.json from which similarity on an answer is the same thing; `calibrate` adds it
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lookalike.core.errors import UserError
from lookalike.core.files import atomic_file, sha256, write_json
from lookalike.deploy.thresholds import THRESHOLDS, Thresholds, replaced_section
from lookalike.images import Preprocess

MANIFEST = "model.json"
GRAPH = "model.onnx"
CARD = "README.md"
FORMAT = 1


@dataclass
class ModelFolder:
    """The manifest of a model folder.

    `binarize` is None, `sign` or `round`; `shape` is C, H, W of the input; `precision` is that of the
    arithmetic (pictures and embeddings are float32 in either).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    path: Path
    shape: list[int]
    size: int
    normalized: bool
    binarize: Literal["round", "sign"] | None
    preprocess: Any
    fingerprint: str
    output: str = "features"
    graph: str = GRAPH
    license: str | None = None
    made_from: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    precision: Literal["float32", "int8"] = "float32"
    format: int = FORMAT

    @classmethod
    def open(cls, path: str | Path) -> ModelFolder:
        """Read a model folder. Raises UserError when it is none, or was written by a newer version."""
        path = Path(path)
        file = path / MANIFEST
        if not file.is_file():
            what = "is not a model folder" if path.is_dir() else "does not exist"
            raise UserError(f"{path} {what}: no {MANIFEST} there (lookalike export writes one)")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{file} is damaged: {error}") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            told = values.get("format") if isinstance(values, dict) else None
            raise UserError(f"{file}: format {told} is not the format {FORMAT} that this version reads")
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

    def preprocessing(self) -> Preprocess:
        """The preprocessing that the model was scored with."""
        return Preprocess.from_json(self.preprocess)

    def verify(self) -> None:
        """Raise UserError when the files are not those that the fingerprint was made of."""
        if self.computed_fingerprint() != self.fingerprint:
            raise UserError(
                f"{self.path}: the files do not fit the fingerprint in {MANIFEST}; export the model again"
            )

    def computed_fingerprint(self) -> str:
        """Hash of graph, weights, preprocessing and feature kind; not of metrics, card, licence or
        thresholds.
        """
        kind = [self.output, self.size, self.normalized, self.binarize]
        described = json.dumps([self.preprocess, self.shape, kind], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256((sha256(self.graph_file) + described).encode()).hexdigest()

    def write(self) -> None:
        """Write the manifest and the model card."""
        values = {key: value for key, value in asdict(self).items() if key != "path"}
        write_json(self.path / MANIFEST, values)
        (self.path / CARD).write_text(self._card(), encoding="utf-8")

    def thresholds(self) -> Thresholds | None:
        """What `calibrate` found; None where it was not used. Raises UserError as `Thresholds.read`."""
        return Thresholds.read(self.path / THRESHOLDS, self.fingerprint)

    def write_thresholds(self, found: Thresholds) -> None:
        """Put thresholds into the folder and on the model card, of which the rest stays as it is.

        Raises UserError where the folder cannot be written.
        """
        card = self.path / CARD
        try:
            found.write(self.path / THRESHOLDS)
            text = card.read_text(encoding="utf-8") if card.is_file() else self._card()
            with atomic_file(card, "w") as file:
                file.write(replaced_section(text, "Thresholds", found.lines()))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"thresholds cannot be written into {self.path}: {error}") from None

    def _card(self) -> str:
        kind = f"{self.size} bits ({self.binarize})" if self.binarize else f"{self.size} numbers"
        lines = [
            "# Image embedding model",
            "",
            f"- Input: picture, preprocessed to {'x'.join(map(str, self.shape))} as `model.json` says",
            f"- Output: `{self.output}`, {kind}{', L2-normalised' if self.normalized else ''}",
            f"- Arithmetic: {self.precision}",
            f"- Fingerprint: `{self.fingerprint}`",
            f"- Licence: {self.license or 'not stated'}",
        ]
        lines += [f"- {name}: {value}" for name, value in self.made_from.items() if value]
        if self.metrics:
            lines += ["", "| figure | value |", "|---|---|"]
            lines += [f"| {name} | {value:.4f} |" for name, value in self.metrics.items()]
        use = [
            "",
            "Use:",
            "",
            "    from lookalike import Embedder",
            '    vectors = Embedder("this folder").encode(["a.jpg"])',
            "",
        ]
        return "\n".join(lines + use)
