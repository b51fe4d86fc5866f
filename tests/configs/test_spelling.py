"""The reference's spelling of a recipe means the same as ours, and what it has in excess is told once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from lookalike.core.log import forget_warnings, logger
from lookalike.recipe import Recipe, load_recipe
from tests.configs.small import small
from tests.configs.spelling import as_the_reference_writes
from tests.configs.table import ROWS, Row

TOLD = {"Metric.Train", "Infer"}
"""What a file of the reference always has without effect here."""


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    listener = Listener()
    logger.addHandler(listener)
    forget_warnings()
    yield told
    logger.removeHandler(listener)


def values_of(row: Row) -> dict[str, Any]:
    return small(load_recipe(row.recipe).to_dict(), row, shrunk=False)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.starts_from is None], ids=lambda row: str(row.config)
)
def test_the_spelling_of_the_reference_means_the_same(row: Row, warnings: list[str]) -> None:
    values = values_of(row)
    ours = Recipe.from_dict(values)
    assert warnings == []
    theirs = Recipe.from_dict(as_the_reference_writes(values))
    assert {message.split(":")[0] for message in warnings} == TOLD
    given = theirs.global_.model_dump(exclude={"class_num", "infer_imgs"})
    assert given == ours.global_.model_dump(exclude={"class_num", "infer_imgs"})
    for section in ("Loss", "Slim", "SSL", "UnLabelLoss", "EMA", "AMP"):
        assert theirs.tree.get(section) == ours.tree.get(section)
    if ours.data is not None:
        assert theirs.data is not None
        assert theirs.data.Eval == without(ours.data.Eval, theirs.data.Eval)


def without(ours: Any, theirs: Any) -> Any:
    """Our section with what theirs has in excess, and with their empty values in place of ours."""
    if ours == {} and theirs is None:
        return None
    if isinstance(ours, dict):
        return {key: without(ours.get(key, value), value) for key, value in theirs.items()}
    if isinstance(ours, list):
        return [without(one, other) for one, other in zip(ours, theirs, strict=True)]
    return ours


@pytest.mark.parametrize(
    "keys",
    [
        {"Global": {"use_dali": True, "to_static": True, "print_mem_info": True, "log_ranks": "0,1"}},
        {"Global": {"uniform_output_enabled": True, "export_for_fd": True, "pdx_model_name": "x"}},
        {"Global": {"hpi_config_path": "x.yaml", "use_multilabel": True, "max_num_latest_checkpoint": 3}},
        {"Global": {"checkpoints": None, "seed": 7, "update_freq": 2, "start_eval_epoch": 1}},
        {"AMP": {"use_amp": False, "scale_loss": 128, "use_dynamic_loss_scaling": True, "level": "O1"}},
        {"AMP": {"use_amp": True, "use_fp16_test": True, "use_promote": False, "level": "O2"}},
        {"EMA": {"decay": 0.9999}},
        {"Slim": {"prune": {"name": "l1_norm", "pruned_ratio": 0.3}}},
        {"Slim": {"quant": {"name": "pact"}}},
        {"profiler_options": None},
    ],
    ids=str,
)
def test_keys_of_the_reference_are_known(keys: dict[str, Any]) -> None:
    values = load_recipe("product/sop").to_dict()
    for section, given in keys.items():
        values[section] = {**(values.get(section) or {}), **given} if given is not None else None
    Recipe.from_dict(values)
