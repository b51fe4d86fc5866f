"""The log of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.core.log import logger, start_file, stop_file


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
def test_a_log_that_cannot_be_written_is_told_once_and_ends_nothing(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    log = start_file(Path("/dev/full"))
    logger.info("one")
    logger.info("two")
    stop_file(log)
    told = [record.getMessage() for record in caplog.records]
    # which comes first is up to the order of handlers
    assert sorted(told) == ["/dev/full ends here: No space left on device", "one", "two"]
    assert "Traceback" not in capsys.readouterr().err
    assert log not in logger.handlers
