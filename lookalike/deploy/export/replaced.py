"""The model folder that an export replaces: what stays of it, and what is told of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.core.log import logger
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.thresholds import Thresholds


@dataclass(frozen=True)
class Replaced:
    """An older model folder and its thresholds; None of what is not there or cannot be read."""

    folder: ModelFolder | None = None
    thresholds: Thresholds | None = None

    @classmethod
    def at(cls, folder: Path) -> Replaced:
        """What a folder holds now."""
        try:
            before = ModelFolder.open(folder)
        except UserError:
            return cls()
        try:
            return cls(before, before.found_thresholds())
        except UserError:
            return cls(before)

    def keep_thresholds(self, written: ModelFolder) -> None:
        """Give a sealed folder the thresholds, where they were found with the same model."""
        if self.thresholds is not None and self.thresholds.fingerprint == written.fingerprint:
            written.thresholds = self.thresholds.to_json()

    def warn(self, folder: Path, written: ModelFolder) -> None:
        """Tell of galleries and thresholds that do not go with what was written in its place."""
        before, found = self.folder, self.thresholds
        if before is not None and before.fingerprint != written.fingerprint:
            logger.warning(
                f"{folder} held another model ({before.size} numbers, fingerprint "
                f"{before.fingerprint[:12]}): vectors and galleries that were made with it do not go with "
                "this one"
            )
        if found is not None and found.fingerprint != written.fingerprint:
            logger.warning(
                f"{folder} has no thresholds any more: they were found with another model (fingerprints "
                f"{found.fingerprint[:12]} and {written.fingerprint[:12]}), whose similarities are others; "
                "calibrate again (lookalike calibrate)"
            )
