"""A gallery that is killed while it is written, and one that two processes write at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.gallery.store import Store
from tests.conftest import REPOSITORY

ABOUT = {"kind": "real", "size": "8", "fingerprint": "f", "model": "m"}

# signals that it is in the middle of a transaction, and waits there to be killed
KILLED = """
import sys, time, numpy as np
from pathlib import Path
from lookalike.gallery.store import Store
store, _ = Store.open(Path(sys.argv[1]))
class Rows:
    def __iter__(self):
        for row in range(5000):
            if row == 4000:
                print("writing", flush=True)
                time.sleep(60)
            yield np.full(8, row, np.float32)
store.add([f"new {row}" for row in range(5000)], ["x"] * 5000, Rows())
"""

BUSY = """
import sys, numpy as np
from pathlib import Path
from lookalike.gallery.store import Store
store, _ = Store.open(Path(sys.argv[1]))
sys.stdin.readline()
for batch in range(30):
    names = [f"{sys.argv[2]} {batch} {row}" for row in range(5)] + [f"both {batch}"]
    store.add(names, ["x"] * 6, np.zeros((6, 8), np.float32))
"""


def start(code: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], cwd=REPOSITORY, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    store = Store.create(tmp_path / "gallery.sqlite", ABOUT)
    assert store.add(["a", "b"], ["1", "2"], np.ones((2, 8), np.float32)) == [0, 1]
    return store.file


def test_kill_in_the_middle_of_an_add_leaves_all_or_nothing(file: Path) -> None:
    running = start(KILLED, file)
    assert running.stdout is not None
    assert running.stdout.readline() == "writing\n"
    store, about = Store.open(file)
    assert about == {"format": "1", **ABOUT}
    assert store.counts() == {"1": 1, "2": 1}  # readers do not wait, and see nothing of what is not finished
    running.send_signal(signal.SIGKILL)
    running.communicate()
    store, _ = Store.open(file)
    assert store.counts() == {"1": 1, "2": 1}
    assert store.add(["c"], ["3"], np.ones((1, 8), np.float32)) == [0]
    assert store.version() == "3-3"


def test_two_processes_add_at_once(file: Path) -> None:
    running = [start(BUSY, file, name) for name in ("one", "two")]
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    assert [each.communicate() and each.returncode for each in running] == [0, 0]
    store, _ = Store.open(file)
    assert store.counts() == {"1": 1, "2": 1, "x": 2 * 30 * 5 + 30}  # what both name is enrolled once


def test_an_error_in_the_middle_of_an_add_leaves_nothing_of_it(file: Path) -> None:
    store, _ = Store.open(file)
    with pytest.raises(ValueError, match="zip"):
        store.add(["c", "d"], ["3", "4"], np.ones((1, 8), np.float32))
    assert store.counts() == {"1": 1, "2": 1}
    assert store.known_paths(["a", "c", "d"]).keys() == {"a"}


def test_a_store_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written: .*no/gallery\.sqlite"):
        Store.create(tmp_path / "no" / "gallery.sqlite", ABOUT)
