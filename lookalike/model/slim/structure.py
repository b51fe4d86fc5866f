"""What a model that was made smaller looks like: what its recipe does not say and its weights need.

The structure is written as JSON into the header of `model.safetensors`, so that it cannot be parted from the
weights and reading it runs no code. A model is built from its recipe and then rebuilt by the structure of the
weights that it loads (`lookalike.model.slim.rebuild`).
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from lookalike.core.errors import UserError

KEY = "lookalike.structure"
FORMAT = 1
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class QuantisedLayer:
    """A convolution or linear layer in 8 bits: whose rounding its input went through, and the batch norm that
    alone reads its output.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    reads: str
    norm: str | None = None


@dataclass(frozen=True)
class Quantisation:
    """Where a model rounds: paths of the quantisers, and the layers between them.

    `learned_clip`: each quantiser has a bound that is trained (PACT). `symmetric`: as the reference rounds.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    quantisers: list[str]
    layers: dict[str, QuantisedLayer]
    learned_clip: bool = True
    symmetric: bool = False


@dataclass(frozen=True)
class Structure:
    """`widths`: sizes of the layers that were pruned, by path; `quantisation` of a model that rounds."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    widths: dict[str, dict[str, int]] = field(default_factory=dict)
    quantisation: Quantisation | None = None
    format: int = FORMAT

    def to_metadata(self) -> dict[str, str]:
        """The header of a safetensors file."""
        return {KEY: json.dumps(asdict(self), separators=(",", ":"))}

    @classmethod
    def of_json(cls, text: str, source: str) -> Structure:
        """Read what `to_metadata` wrote. Raises UserError for what it cannot have written."""
        try:
            structure = TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{source}: its structure is damaged: {where}: {first['msg']}") from None
        if structure.format != FORMAT:
            raise UserError(
                f"{source}: its structure has format {structure.format}; this version reads {FORMAT}"
            )
        return structure

    def inside(self, part: str) -> Structure:
        """The structure of one part (`backbone`), with paths from there."""
        start = f"{part}."

        def own(path: str) -> bool:
            return path.startswith(start)

        widths = {path.removeprefix(start): sizes for path, sizes in self.widths.items() if own(path)}
        rounds = self.quantisation
        if rounds is not None:
            layers = {
                path.removeprefix(start): QuantisedLayer(
                    layer.reads.removeprefix(start), layer.norm and layer.norm.removeprefix(start)
                )
                for path, layer in rounds.layers.items()
                if own(path)
            }
            quantisers = [path.removeprefix(start) for path in rounds.quantisers if own(path)]
            rounds = Quantisation(quantisers, layers, rounds.learned_clip, rounds.symmetric)
        return Structure(widths, rounds)


def structure_of(model: nn.Module) -> Structure | None:
    """The structure of a model that was pruned or rounds; None of one that is as its recipe says."""
    found: Any = getattr(model, "structure", None)
    return found if isinstance(found, Structure) else None


def metadata_of(model: nn.Module) -> dict[str, str] | None:
    """What the file of a model's weights says in its header."""
    structure = structure_of(model)
    return structure.to_metadata() if structure is not None else None


def read_structure(file: Path) -> Structure | None:
    """The structure in a file of weights; None where there is none, and for files of other programs."""
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    try:
        with open(file, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(length)) if length <= file.stat().st_size else {}
    except (struct.error, ValueError):
        return None  # whoever reads the weights says what is wrong with the file
    text = header.get("__metadata__", {}).get(KEY) if isinstance(header, dict) else None
    return Structure.of_json(text, str(file)) if isinstance(text, str) else None
