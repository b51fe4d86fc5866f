"""The command line inside the test process."""

from tests.cli.conftest import _logger_as_it_was, command

__all__ = ["_logger_as_it_was", "command"]
