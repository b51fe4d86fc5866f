"""Checkpoints: a folder with the weights to use and all that a resumed run needs to go on exactly.

    latest/
      model.safetensors        the weights to use: the averaged ones where the recipe has EMA; its header
                               holds the structure of a pruned or rounded model
      recipe.yaml              the recipe as it took effect
      state/
        training.json          epoch, batch, best figure and what else is plain numbers
        training.pt            optimizer, schedule, loss scaler, random generators; read with weights_only
        model.safetensors      the raw weights, where the recipe has EMA
        loss.safetensors       weights of losses that have any
        score.json             what these weights reached on DataLoader.Eval, once the run is done

Files are written beside their place and renamed into it, so a crash leaves the older checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lookalike.core import process
from lookalike.core.errors import LookalikeError, UserError, line_of
from lookalike.core.files import NoSpace, atomic_folder, recover_folder, write_json
from lookalike.model.slim.structure import metadata_of
from lookalike.recipe import Recipe, different_keys, load_recipe

T = TypeVar("T")


@dataclass
class Progress:
    """Where a run stands.

    `epoch` counts from 1; `batches_done` counts the batches of that epoch that are finished; `loss_sums` are
    the sums of their losses, one entry for each process; `positions` are those in the loaders, for training
    modes that read several.
    """

    epoch: int = 1
    batches_done: int = 0
    iteration: int = 0
    best_metric: float | None = None
    best_epoch: int | None = None
    ema_steps: int = 0
    loss_sums: list[dict[str, float]] = field(default_factory=list)
    loss_count: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every random generator that training draws from, as tensors and numbers."""
    _, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "python": [version, torch.tensor(internal, dtype=torch.int64), gauss],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put the random generators back where `random_state` found them."""
    torch.set_rng_state(state["torch"])
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    loss: nn.Module,
    optimizers: Any,
    scaler: Any,
    progress: Progress,
    random_states: list[dict[str, Any]],
    averaged: dict[str, Tensor] | None,
    recipe_text: str,
) -> None:
    """Write a checkpoint folder; only the main process writes.

    Raises LookalikeError when the disk refuses; the older checkpoint is unharmed then.
    """
    if not process.is_main():
        return
    raw = _plain(model.state_dict())
    with told_in_words(folder), atomic_folder(folder) as part:
        state = part / "state"
        state.mkdir()
        structure = metadata_of(model)
        weights = _plain(averaged) if averaged is not None else raw
        save_file(weights, part / "model.safetensors", structure)
        if averaged is not None:
            save_file(raw, state / "model.safetensors", structure)
        if loss_state := _plain(loss.state_dict()):
            save_file(loss_state, state / "loss.safetensors")
        training = {
            "optimizers": optimizers.state_dict(),
            "scaler": scaler.state_dict(),
            "random": random_states,
        }
        with open(state / "training.pt", "wb") as file:
            torch.save(training, file)
        write_json(state / "training.json", asdict(progress))
        (part / "recipe.yaml").write_text(recipe_text, encoding="utf-8")


def keep_score(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write what the weights of a checkpoint reached when training was done; for the model card."""
    if process.is_main() and folder.is_dir():
        write_json(folder / "state" / "score.json", {"metrics": dict(metrics)})


def copy_checkpoint(source: Path, target: Path) -> None:
    """Give a checkpoint a second name (`best_model`, `epoch_3`).

    Raises LookalikeError when the disk refuses.
    """
    if not process.is_main():
        return
    with told_in_words(target), atomic_folder(target) as part:
        shutil.copytree(source, part, dirs_exist_ok=True)


@contextlib.contextmanager
def told_in_words(folder: Path) -> Iterator[None]:
    """A disk that refuses, as one sentence, whichever library noticed it."""
    kept = f"; the older {folder.name} is unharmed" if folder.is_dir() else ""
    try:
        yield
    except NoSpace as error:
        raise NoSpace(f"{error}{kept}") from error
    except (OSError, SafetensorError, RuntimeError) as error:
        cause: BaseException = error
        if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
            cause = error.__context__  # torch.save hides the reason behind a message of its own
        reason = (cause.strerror if isinstance(cause, OSError) else None) or line_of(cause)
        raise LookalikeError(f"the checkpoint {folder} could not be written: {reason}{kept}") from error


def resume_folder(path: str) -> Path:
    """The checkpoint folder that `Global.checkpoints` names.

    Raises UserError when there is none to resume from.
    """
    folder = Path(path)
    recover_folder(folder)
    if not folder.is_dir():
        raise UserError(f"Global.checkpoints: there is no checkpoint folder {folder} to resume from")
    for needed in ("model.safetensors", "state/training.json", "state/training.pt"):
        if not (folder / needed).is_file():
            hint = (
                "; to start from its weights use Global.pretrained_model"
                if needed != "model.safetensors"
                else ""
            )
            raise UserError(f"Global.checkpoints: {folder} cannot be resumed, it has no {needed}{hint}")
    return folder


def changed_keys(folder: Path, recipe: Recipe) -> list[str]:
    """Keys that differ between a checkpoint's recipe and this one, but for those that a resumed run sets."""
    file = folder / "recipe.yaml"
    if not file.is_file():
        return []
    expected = {"Global.checkpoints", "Global.output_dir", "Global.epochs", "Global.pretrained_model"}
    found = different_keys(load_recipe(file).to_dict(), recipe.to_dict())
    return [key for key in found if key not in expected]


def load_checkpoint(
    folder: Path, model: nn.Module, loss: nn.Module, optimizers: Any, scaler: Any, device: torch.device
) -> tuple[Progress, dict[str, Tensor] | None]:
    """Restore everything from a checkpoint folder. Returns where the run stood and the averaged weights, if
    any.

    Raises UserError when the checkpoint belongs to another model, or was written by another number of
    processes.
    """
    raw_file = folder / "state" / "model.safetensors"
    averaged = _read(load_file, folder / "model.safetensors") if raw_file.is_file() else None
    raw = _read(load_file, raw_file if averaged is not None else folder / "model.safetensors")
    training = _read(
        partial(torch.load, map_location="cpu", weights_only=True), folder / "state" / "training.pt"
    )
    progress = _read(_read_progress, folder / "state" / "training.json")
    states = training["random"]
    if len(states) != process.world_size():
        raise UserError(
            f"Global.checkpoints: {folder} was written by {len(states)} processes and this run has "
            f"{process.world_size()}; to start from its weights use Global.pretrained_model"
        )
    try:
        model.load_state_dict(raw)
        if (folder / "state" / "loss.safetensors").is_file():
            loss.load_state_dict(_read(load_file, folder / "state" / "loss.safetensors"))
        optimizers.load_state_dict(training["optimizers"])
        scaler.load_state_dict(training["scaler"])
    except (RuntimeError, ValueError, KeyError) as error:
        last = line_of(error, last=True)
        raise UserError(
            f"Global.checkpoints: {folder} belongs to another model or optimizer than this recipe's: {last}"
        ) from None
    restore_random_state(states[process.rank()], device)
    return progress, averaged


def _read(reader: Callable[[Path], T], file: Path) -> T:
    try:
        return reader(file)
    except Exception as error:  # each library has its own errors for bytes that make no sense
        raise UserError(f"Global.checkpoints: {file} is damaged: {line_of(error)}") from None


def _read_progress(file: Path) -> Progress:
    return Progress(**json.loads(file.read_text(encoding="utf-8")))


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # safetensors refuses tensors that share memory or are not contiguous
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
