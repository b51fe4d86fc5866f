"""The command line inside the test process: fast, and with stdout and stderr apart."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookalike.cli.main import run
from tests.tiny import recipe_values


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON object on stdout."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    def sentence(self, code: int = 2) -> str:
        """The one line that tells a failure; no traceback, nothing on stdout."""
        assert self.code == code, (self.code, self.out, self.err)
        assert "Traceback" not in self.err
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if line.startswith("lookalike: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0]
        return lines[0].removeprefix("lookalike: ")


Command = Callable[..., Answer]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command("train", "-c", file)` runs `lookalike train -c FILE` in this process."""

    def call(*words: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["lookalike", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run()
        told = capsys.readouterr()
        return Answer(int(ended.value.code or 0), told.out, told.err)

    return call


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """The command line sends the package's messages to stderr; other tests listen to them elsewhere."""
    logger = logging.getLogger("lookalike")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logger.propagate = propagate


@pytest.fixture
def recipe_file(pictures: Path, tmp_path: Path) -> Path:
    """The tiny recipe as a file whose run writes below `tmp_path/out`."""
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(recipe_values(pictures, tmp_path / "out")), encoding="utf-8")
    return file


@pytest.fixture
def model(trained: Path) -> Path:
    """The model folder of the short run."""
    return trained / "inference"


@pytest.fixture
def checkpoint(trained: Path) -> Path:
    return trained / "RecModel" / "best_model"


@pytest.fixture
def some(pictures: Path) -> list[Path]:
    """The pictures of one class, sorted."""
    return sorted((pictures / "pictures" / "class 7").iterdir())
