"""The command as a whole: its help, its errors, its exit codes."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lookalike import __version__
from lookalike.cli import main
from lookalike.core.files import atomic_file
from tests.cli.conftest import Command
from tests.conftest import REPOSITORY


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['lookalike', '--help']\n"
        "from lookalike.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "import lookalike\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'cv2', 'numpy', 'faiss'}))\n"
    )
    best = float("inf")
    for _ in range(3):  # the least of three: other work on the machine only ever adds
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    assert any(line.split()[:1] == ["train"] for line in lines)
    assert best < 0.4


@pytest.mark.parametrize(
    "verb", ["train", "eval", "export", "embed", "gallery", "search", "convert", "recipe"]
)
def test_each_verb_has_help(command: Command, verb: str) -> None:
    told = command(verb, "--help")
    assert told.code == 0
    assert "Usage: lookalike" in told.out or "Usage: " in told.out


def test_version(command: Command) -> None:
    assert command("--version").out.strip() == __version__


def test_without_a_verb_the_help_is_shown(command: Command) -> None:
    told = command()
    assert told.code == 2
    assert told.err.startswith("Usage: ")
    assert "\n  train " in told.err


def test_an_unknown_verb_is_one_sentence(command: Command) -> None:
    assert "trian" in command("trian").sentence()
    assert "did you mean 'train'" in command("trian").sentence()


@pytest.mark.parametrize(
    ("words", "nearest"), [(("gallery", "craete"), "create"), (("recipe", "shwo"), "show")]
)
def test_an_unknown_second_word_is_one_sentence(
    command: Command, words: tuple[str, str], nearest: str
) -> None:
    told = command(*words).sentence()
    assert told.startswith(f"there is no '{' '.join(words)}', did you mean '{nearest}'? (known: ")


_SECOND_WORDS = {
    "gallery": ("create", "add", "info"),
    "recipe": ("list", "show", "copy", "schema"),
    "data": ("list", "prepare", "merge"),
    "hub": ("push", "pull"),
}


def test_a_file_that_looks_like_an_option_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "-dash.jpg").touch()
    monkeypatch.chdir(tmp_path)
    told = command("embed", "inference", "-dash.jpg").sentence()
    assert told == "No such option: -d (the file of that name is ./-dash.jpg)"
    assert command("embed", "inference", "-deep.jpg").sentence() == "No such option: -d"


@pytest.mark.parametrize("verb", main._VERBS)
def test_every_verb_takes_json(command: Command, verb: str) -> None:
    for word in _SECOND_WORDS.get(verb, ("",)):
        assert "--json" in command(*f"{verb} {word}".split(), "--help").out


def test_an_error_that_meets_all_processes_is_told_by_the_first(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("lookalike.cli.main.time.sleep", waited.append)
    alone = command("train", "-c", "nowhere.yaml").sentence()
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank % 2))
        told = command("train", "-c", "nowhere.yaml").sentence()
        # torchrun has ended the others by then; one that nobody ended is the only one that failed
        assert told == (f"rank {rank}: {alone}" if rank else alone)
    assert waited == [0, 0, 1.5, 1.0, 1.5]  # alone, then by rank

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lookalike.recipe.list_recipes", stop)
    stopped = command("recipe", "list")
    assert (stopped.code, stopped.err) == (130, "")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without torch.distributed")
@pytest.mark.parametrize("failing", ["all", "the second", "the second, and its connection"])
def test_torchrun_tells_an_error_once(failing: str, tmp_path: Path) -> None:
    # where only the second process fails, rank 0 waits for it in an exchange, or loses the connection to it
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, time\n"
        "from lookalike.cli.main import run\n"
        f"if {failing == 'the second'} and os.environ['RANK'] == '0':\n    time.sleep(60)\n"
        "def lost(): raise RuntimeError('Connection closed by peer')\n"
        "sys.argv = ['lookalike', 'recipe', 'show', 'nowhere']\n"
        f"if {failing.endswith('connection')} and os.environ['RANK'] == '0':\n"
        "    import lookalike.recipe\n"
        "    lookalike.recipe.list_recipes, sys.argv[2:] = lost, ['list']\n"
        "run()\n"
    )
    words = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program))
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=REPOSITORY)
    told = [line for line in done.stderr.splitlines() if line.startswith("lookalike: ")]
    assert len(told) == 1, done.stderr
    assert told[0].startswith("lookalike: nowhere" if failing == "all" else "lookalike: rank 1: nowhere")


def test_an_error_nobody_foresaw_is_one_line_and_debug_shows_where(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr("lookalike.recipe.list_recipes", fail)
    assert command("recipe", "list").sentence(code=1) == "ZeroDivisionError: first (--debug shows where)"
    told = command("recipe", "list", "--debug")
    assert told.code == 1
    assert "Traceback" in told.err
    assert told.err.splitlines()[-1] == "lookalike: ZeroDivisionError: first"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (OSError(28, "No space left on device", "x.npz"), "the disk is full: no space is left for x.npz"),
        (OSError(28, "No space left on device"), "the disk is full (--debug"),
    ],
)
def test_memory_and_disk_are_told_in_words(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("lookalike.recipe.list_recipes", fail)
    assert told in command("recipe", "list").sentence(code=1)


def test_ctrl_c_ends_with_130(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lookalike.recipe.list_recipes", stop)
    assert command("recipe", "list").sentence(code=130) == "stopped"


def test_every_verb_has_a_module_and_says_what_it_does() -> None:
    folder = Path(main.__file__).parent
    for verb, about in main._VERBS.items():
        assert (folder / f"{verb.replace('eval', 'evaluate')}.py").is_file(), verb
        assert about


def test_a_closed_pipe_is_not_an_error_message() -> None:
    code = (
        "import sys\n"
        "from lookalike.cli.main import run\n"
        "sys.argv = ['lookalike', 'recipe', 'show', 'product/sop']\n"
        "run()"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.parametrize("kind", [FileExistsError, NotADirectoryError])
def test_a_file_in_the_way_of_a_folder_is_a_mistake(
    command: Command, monkeypatch: pytest.MonkeyPatch, kind: type[OSError]
) -> None:
    def fail() -> None:
        raise kind(17, "File exists", "a.png")

    monkeypatch.setattr("lookalike.recipe.list_recipes", fail)
    assert command("recipe", "list").sentence() == "a.png is in the way: a folder is needed there"


def test_a_place_without_rights_is_a_mistake(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", f"/there/.list.json.{'x' * 8}.part")

    monkeypatch.setattr("lookalike.core.files.tempfile.mkstemp", fail)

    def write() -> None:
        with atomic_file("list.json"):
            pass

    monkeypatch.setattr("lookalike.recipe.list_recipes", write)
    assert command("recipe", "list").sentence() == f"{Path.cwd() / 'list.json'}: Read-only file system"


def test_ctrl_c_while_the_command_is_loaded_is_one_line() -> None:
    script = (
        "import sys\n"
        "class Stops:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stops())\n"
        "from lookalike.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "lookalike: stopped\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_python_ends_is_one_line(number: signal.Signals) -> None:
    script = (
        "import sys, threading, time\n"
        "import lookalike.cli.main as command\n"
        "from lookalike.__main__ import main\n"
        "def run():\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    print('answer')\n"
        "    sys.exit(0)\n"
        "command.run = run\n"
        "main()\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "answer\n"  # flushed when the command is done
    time.sleep(0.2)
    started.send_signal(number)
    _, told = started.communicate(timeout=30)
    assert (started.returncode, told) == (130, "lookalike: stopped\n")


@pytest.mark.parametrize(("rank", "told"), [("0", "lookalike: stopped\n"), ("1", "")])
def test_an_interruption_while_an_error_is_told_is_one_line(rank: str, told: str) -> None:
    script = (
        "import lookalike.cli.main as command\n"
        "from lookalike.__main__ import main\n"
        "def run():\n"
        "    raise KeyboardInterrupt\n"
        "command.run = run\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "RANK": rank}
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", told)
