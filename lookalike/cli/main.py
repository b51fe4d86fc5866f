"""The command `lookalike`: its verbs, and what becomes of an error."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from lookalike.core import process
from lookalike.core.errors import LookalikeError, UserError, did_you_mean, missing_extra
from lookalike.core.files import is_full

_VERBS = {
    "quickstart": "all of it on drawn pictures, in about three minutes; writes a report",
    "init": "looks at a folder of pictures or a list file and writes a recipe for it",
    "check": "what can be known beforehand: mistakes, memory, time",
    "train": "trains the model of a recipe",
    "eval": "scores a model by retrieval",
    "export": "writes the model folder of a trained model",
    "embed": "turns pictures into vectors",
    "gallery": "makes a gallery, adds pictures to it, tells what it holds",
    "calibrate": "finds from which similarity on an answer is the same thing, or nothing known",
    "search": "finds the nearest pictures of a gallery",
    "hub": "sends a model folder to the Hugging Face Hub, or fetches one",
    "convert": "turns weights of another format into safetensors",
    "data": "turns downloads of published sets into list files; joins several lists into one",
    "recipe": "lists, shows and copies the recipes that ship with Lookalike; writes their JSON schema",
}


_TRAINING_PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript", "tensorboard")


class _LazyGroup(typer.core.TyperGroup):
    """Imports a verb only when it is used, so that `--help` answers at once."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: Any, name: str) -> Any:
        if name not in _VERBS:
            raise UserError(
                f"there is no verb '{name}'{did_you_mean(name, _VERBS)} (known: {', '.join(_VERBS)})"
            )
        if any(word in sys.argv[1:2] for word in ("--help", "-h")) or len(sys.argv) == 1:
            return typer.core.TyperCommand(name, help=_VERBS[name])
        module = importlib.import_module(f"lookalike.cli.{name.replace('eval', 'evaluate')}")
        return typer.main.get_command(module.app)


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Lookalike learns image embeddings and recognises things by what they look like.",
)


@app.callback(invoke_without_command=True)
def _main(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from lookalike import __version__

        typer.echo(__version__)
        raise typer.Exit


def run() -> None:
    """Entry point.

    Exit 0: done; 2: the input is wrong, one sentence says what; 1: something failed; 130: Ctrl-C or SIGTERM.
    """
    _take_sigterm_for_ctrl_c()
    # Threads that spin long while they wait slow everything down as soon as another program wants a core, and
    # threads that never spin are slow to start. The OpenMP library reads this when torch is loaded. Images a
    # second of a tiny network with two threads, machine idle / one core taken: spinning as usual 1400 / 250,
    # never 800 / 590, for a short time 1140 / 460.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        _refuse_spaced_overrides(arguments)
        code = app(args=[a for a in arguments if a != "--debug"], standalone_mode=False)
        if code == 130:  # typer's answer to Ctrl-C
            _fail("stopped", 130)
        sys.exit(code if isinstance(code, int) else 0)
    except LookalikeError as error:
        if debug:
            traceback.print_exc()
        _fail(str(error), error.exit_code)
    except typer.Abort:
        _fail("stopped", 130)
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        _fail("stopped", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a verb alone: its help, as it stands
            print(_usage_error(error), file=sys.stderr)
            sys.exit(2)
        told = _usage_error(error) or _not_installed(error) or _in_the_way(error)
        if debug:
            traceback.print_exc()
        if told is not None:
            _fail(told, 2)
        hint = "" if debug else " (--debug shows where)"
        _fail(f"{_explain(error)}{hint}", 1, foreseen=False)


def _take_sigterm_for_ctrl_c() -> None:
    """So that what a verb has begun is tidied up; training listens to both by itself."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


def _refuse_spaced_overrides(arguments: list[str]) -> None:
    """`-o key = value` arrives as three words; say so instead of taking `=` for a picture."""
    for position, word in enumerate(arguments[:-1]):
        if word in ("-o", "--override"):
            key, following = arguments[position + 1], arguments[position + 2 : position + 4]
            if "=" not in key and following[:1] and following[0].startswith("="):
                value = following[0][1:] or (following[1] if len(following) > 1 else "value")
                raise UserError(
                    f"-o {key} {' '.join(following)}: write it without spaces around '=': -o {key}={value}"
                )


def _usage_error(error: Exception) -> str | None:
    """The sentence of typer's own errors (an unknown option, a missing argument); None for others."""
    formatted = getattr(error, "format_message", None)
    if not callable(formatted):
        return None
    told = str(formatted())
    if type(error).__name__ == "NoSuchOption":  # typer's own, of a module that it does not name in public
        files = (word for word in sys.argv[1:] if word.startswith("-") and Path(word).is_file())
        told += "".join(f" (the file of that name is ./{file})" for file in files)
    return told


def _not_installed(error: Exception) -> str | None:
    """The sentence for a package of `lookalike[train]` that is not there; None for other errors."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return str(missing_extra(name, "train", "this")) if name in _TRAINING_PACKAGES else None


def _in_the_way(error: Exception) -> str | None:
    """The sentence for a file that stands where a folder is needed, or for a place without rights; None for
    other errors.
    """
    if not isinstance(error, OSError) or not error.filename:
        return None
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"{error.filename} is in the way: a folder is needed there"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.filename}: {error.strerror}"
    return None


def _explain(error: Exception) -> str:
    """One sentence for an error that nobody foresaw; the ones of memory and disk are told in words."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "DefaultCPUAllocator" in text:
        return f"out of memory: use a smaller batch_size or smaller pictures ({text or 'MemoryError'})"
    if is_full(error):
        name = getattr(error, "filename", None)
        return f"the disk is full: no space is left for {name}" if name else "the disk is full"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _fail(message: str, code: int, foreseen: bool = True) -> None:
    """Tell why in one line, whoever wrote the message, and exit."""
    if code == 130 and not process.is_main():  # the first process was stopped too
        sys.exit(code)
    time.sleep(_patience(foreseen))
    who = "" if process.is_main() else f"rank {process.rank()}: "
    print(f"lookalike: {who}{' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(code)


def _patience(foreseen: bool) -> float:
    """Seconds that a process waits before it tells its error, so that a run of several tells it once.

    torchrun ends all processes soon after the first of them has ended. A mistake in the recipe meets them
    all: rank 0 tells it at once, and the others are ended while they wait. Where only another one fails, as
    of its broken pictures, nobody ends it, and it tells. What nobody foresaw is told last and by whoever met
    it first: it may be no more than the lost connection to the process that failed.
    """
    if process.world_size() == 1 or (foreseen and process.is_main()):
        return 0.0
    here = int(os.environ.get("LOCAL_WORLD_SIZE", process.world_size()))
    return 1.0 + 0.5 * (process.local_rank() if foreseen else here)
