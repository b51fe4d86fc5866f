"""Loading weights into a model, and saying what fitted."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.core.log import logger
from lookalike.model.slim.rebuild import rebuild_for
from lookalike.model.weights.pdparams import read_pdparams
from lookalike.model.weights.reference_layout import (
    from_reference_state,
    fused_prefixes,
    idle_keys,
    obsolete_keys,
    reference_keys_of,
    required_keys,
    to_reference_key,
)
from lookalike.model.weights.sources import find_weights

_WRAPPERS = ("module.", "_orig_mod.")
"""What other programs put before the keys of a model: data parallelism, compilation."""


@dataclass
class LoadReport:
    """Which keys of a model got values from a file."""

    source: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """In the model, not in the file: keep their starting values."""
    unexpected: list[str] = field(default_factory=list)
    """In the file, not in the model."""
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    """(key, shape in the model, shape in the file): keep their starting values."""

    @property
    def complete(self) -> bool:
        """Whether every weight of the model came from the file, and the file held nothing else."""
        return not (self.missing or self.unexpected or self.mismatched)

    def table(self, rows: int = 12) -> str:
        """What did not fit, one line a key, at most `rows` of each kind."""
        lines = [f"{self.source}: {len(self.matched)} weights loaded"]
        for name, entries in (
            ("not in the file", self.missing),
            ("not in the model", self.unexpected),
            (
                "other shape",
                [
                    f"{k}: {list(ours)} here, {list(theirs)} in the file"
                    for k, ours, theirs in self.mismatched
                ],
            ),
        ):
            if entries:
                lines.append(f"  {len(entries)} {name}:")
                lines += [f"    {entry}" for entry in entries[:rows]]
                if len(entries) > rows:
                    lines.append(f"    … and {len(entries) - rows} more")
        return "\n".join(lines)


def load_weights(
    model: nn.Module, source: str | Path, required: tuple[str, ...] = (), among: str = "Student"
) -> LoadReport:
    """Load `.pdparams`, `.safetensors`, `.pth` or `.pt`, a checkpoint folder or an address into a model.

    The file may hold the whole model or its backbone alone, in the reference's layout or ours or timm's. What
    has another shape or does not exist is left out and told in the log; weights behind the stop layer are
    left out silently. `required` names the parts that must be whole: `backbone`, `neck`, `head`, or
    `Student.backbone` and so on of a DistillationModel.

    A DistillationModel takes the weights of all its models, or of the student alone; another model takes
    those of the one called `among` out of a file of several.

    Raises UserError when nothing fits, when a required part is not whole, and for a file that cannot be read.
    """
    path = find_weights(source)
    name = str(source)
    rebuild_for(model, path, name)
    state: Mapping[str, Any]
    if path.suffix in (".pdparams", ".pdema"):
        for part in model.modules():
            if hasattr(part, "unmapped_in_reference"):
                raise UserError(f"{name}: {part.unmapped_in_reference}")
        ours = {theirs for theirs, _ in to_reference_key(model).values()}
        found = _best_fit(model, ours, read_pdparams(path), among)
        if any(f"{prefix}.dw_conv_list.0.conv.weight" in found for prefix in fused_prefixes(model)):
            raise UserError(f"{name}: load weights before the branches of the model are joined, not after")
        state = from_reference_state(model, found)
        quiet = idle_keys(model) | obsolete_keys(model)
    else:
        state = _best_fit(model, set(model.state_dict()), _read_torch(path), among)
        quiet = set()
    own = model.state_dict()
    report = _copy(own, state, name, quiet | _removed(model))
    if not report.matched:
        raise UserError(
            f"{name}: no weight of the file fits the model; it holds {_some(state)}, the model {_some(own)}"
        )
    absent = [*report.missing, *(key for key, _, _ in report.mismatched)]
    if lacking := [key for key in absent if key.startswith(tuple(f"{part}." for part in required))]:
        raise UserError(
            f"{name}: {len(lacking)} weights that this model computes with are not in the file or of another "
            f"shape ({', '.join(lacking[:3])}, …): use the weights that belong to the recipe"
        )
    if path.suffix in (".pdparams", ".pdema") and (lacking := sorted(required_keys(model) & set(absent))):
        raise UserError(
            f"{name}: {len(lacking)} weights of the network are not in the file under the names that the "
            f"reference gives them, or of another shape ({', '.join(lacking[:3])}, …): it is of another one"
        )
    (logger.info if report.complete else logger.warning)("%s", report.table())
    return report


def _best_fit(model: nn.Module, wanted: set[str], state: Mapping[str, Any], among: str) -> dict[str, Any]:
    """A file's entries under the names that fit most: as they are, as a backbone, as one out of several."""
    whole = _unwrapped(dict(state))
    one = _prefixed(whole, f"-{among}.")
    forms = [_prefixed(form, prefix) for form in (whole, one) for prefix in _prefixes(model)]
    candidates = [_in_plain_layers(model, form) for form in forms]
    return max(candidates, key=lambda candidate: len(wanted & candidate.keys()))


def _prefixes(model: nn.Module) -> list[str]:
    student = getattr(model, "student_name", None)
    if student is not None:
        return ["", f"{student}."]
    return ["", "backbone."] if hasattr(model, "backbone") else ["", "-backbone."]


def _prefixed(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Keys with a prefix before them, or with `-prefix` only the keys that have it, without it."""
    if prefix.startswith("-"):
        return {key[len(prefix) - 1 :]: value for key, value in state.items() if key.startswith(prefix[1:])}
    return {prefix + key: value for key, value in state.items()}


def _unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    for wrapper in _WRAPPERS:
        if any(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    return state


def _in_plain_layers(model: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """Entries of a plain layer, put where the model has that layer inside another (`plain_layer`)."""
    inner = {
        prefix: f"{prefix}.{module.plain_layer}"
        for prefix, module in model.named_modules()
        if hasattr(module, "plain_layer")
    }
    if not inner:
        return state
    parted = {key: key.rpartition(".") for key in state}
    return {f"{inner.get(layer, layer)}{dot}{last}": state[key] for key, (layer, dot, last) in parted.items()}


def _removed(model: nn.Module) -> set[str]:
    """Keys behind the stop layers, of ours and of the reference's."""
    ours, theirs = set(), set()
    for prefix, module in model.named_modules():
        if hasattr(module, "output_names"):
            continue  # a model, which tells what its backbone knows
        start = f"{prefix}." if prefix else ""
        for key in getattr(getattr(module, "facts", None), "removed_keys", ()):
            head, dot, last = key.rpartition(".")
            ours.add(f"{start}{key}")
            last = {"running_mean": "_mean", "running_var": "_variance"}.get(last, last)
            theirs.add(f"{start}{head}{dot}{last}")
    return ours | reference_keys_of(model, theirs)


def _copy(own: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str, quiet: set[str]) -> LoadReport:
    report = LoadReport(source)
    with torch.no_grad():
        for key, value in state.items():
            if key not in own:
                if key not in quiet and not key.endswith("num_batches_tracked"):
                    report.unexpected.append(key)
            elif own[key].shape != value.shape:
                report.mismatched.append((key, tuple(own[key].shape), tuple(value.shape)))
            else:
                own[key].copy_(value)
                report.matched.append(key)
    taken = {*report.matched, *(key for key, _, _ in report.mismatched)}
    report.missing = [key for key in own if key not in taken and not key.endswith("num_batches_tracked")]
    return report


def _read_torch(path: Path) -> dict[str, Tensor]:
    """Named tensors of a `.safetensors` or PyTorch file; of the latter nothing but tensors is read."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, struct.error, json.JSONDecodeError) as error:
            raise UserError(f"{path}: is not a safetensors file, or is broken ({error})") from error
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # what torch says advises to let the file run code
        raise UserError(
            f"{path}: not read, because it is no plain file of tensors ({type(error).__name__})"
        ) from error
    for key in ("state_dict_ema", "state_dict", "model_ema", "model", "net"):
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
            break
    tensors = (
        {str(k): v for k, v in held.items() if isinstance(v, Tensor)} if isinstance(held, Mapping) else {}
    )
    if not tensors:
        raise UserError(f"{path}: holds no named tensors")
    return tensors


def _some(keys: Mapping[str, Any]) -> str:
    names = list(keys)
    return ", ".join(names[:3]) + (f", … ({len(names)})" if len(names) > 3 else "")
