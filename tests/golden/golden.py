"""Reading the golden numbers of the reference.

The folder is named by the environment variable LOOKALIKE_GOLDEN (default: ../shared/golden beside the
repository). Tests run every case they find there, so another set in the same layout can take its place.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

FOLDER = Path(
    os.environ.get("LOOKALIKE_GOLDEN")
    or Path(__file__).resolve().parent.parent.parent.parent / "shared" / "golden"
)
_ABSENT = f"no golden numbers at {FOLDER} (set LOOKALIKE_GOLDEN)"


COMPARED: dict[str, set[str]] = {}
"""Cases by file that tests compare with; filled where `parametrize` decorates one. See test_coverage.py."""


def wanting(sentence: str) -> None:
    """What is not there leaves tests out; where LOOKALIKE_REQUIRE_GOLDEN is set, it is an error."""
    if os.environ.get("LOOKALIKE_REQUIRE_GOLDEN"):
        raise LookupError(sentence)


def present() -> bool:
    """Whether the folder is there. Where LOOKALIKE_REQUIRE_GOLDEN is set, its absence is an error."""
    if not FOLDER.is_dir():
        wanting(_ABSENT)
    return FOLDER.is_dir()


def content(path: str) -> dict[str, Any]:
    """What a JSON file of the folder holds, {} where it is absent."""
    if not present():
        return {}
    if not (FOLDER / path).is_file():
        wanting(f"there is no {path} among the golden numbers at {FOLDER}")
        return {}
    with open(FOLDER / path, encoding="utf-8") as file:
        return dict(json.load(file))


def cases(name: str) -> list[dict[str, Any]]:
    """All cases of a file, [] where it is absent."""
    found = list(content(f"{name}.json").get("cases", []))
    if not found:
        wanting(f"{name}.json at {FOLDER} holds no case")
    return found


def arrays(name: str) -> Any:
    """The arrays of a file, read when first asked for."""
    return np.load(FOLDER / f"{name}.npz", allow_pickle=False)


def parametrize(name: str, missing: Any = None, only: Any = None) -> Any:
    """`pytest.mark.parametrize("case", …)` over every case of a file, or over those for which `only(case)`.

    `missing(case)` names the component of a case that does not exist here yet, or returns None; such a case
    is a strict expected failure, so that it has to be turned on when the component arrives.
    """
    found = [case for case in cases(name) if only is None or only(case)]
    if not found:
        reason = f"no cases of {name}.json at {FOLDER} (set LOOKALIKE_GOLDEN)"
        return pytest.mark.parametrize("case", [pytest.param({}, marks=pytest.mark.skip(reason=reason))])
    parameters = []
    for case in found:
        absent = missing(case) if missing else None
        if not absent:
            COMPARED.setdefault(name, set()).add(case["id"])
        marks = [pytest.mark.xfail(strict=True, reason=f"{absent} does not exist yet")] if absent else []
        parameters.append(pytest.param(case, id=case["id"], marks=marks))
    return pytest.mark.parametrize("case", parameters)


def under(store: Any, prefix: str) -> dict[str, np.ndarray]:
    """All arrays whose name starts with `prefix/`, by the rest of the name."""
    return {key[len(prefix) + 1 :]: store[key] for key in store.files if key.startswith(prefix + "/")}


def assert_close(actual: Any, expected: Any, rtol: float, atol: float, what: str = "") -> None:
    """abs(a - b) <= atol + rtol * abs(b), the comparison rule of the golden set."""
    np.testing.assert_allclose(np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64),
                               rtol=rtol, atol=atol, err_msg=what)  # fmt: skip


def assert_close_to_max(actual: Any, expected: Any, rtol: float, what: str = "") -> None:
    """max(abs(a - b)) <= rtol * max(abs(b)), the rule for whole networks."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} against {expected.shape}"
    worst, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    assert worst <= rtol * scale, f"{what}: differs by {worst:.3g}, allowed {rtol} of {scale:.3g}"


def salt(name: str, case: dict[str, Any]) -> str:
    """The salt of a case's weights: its own, or the one that `about` of the file writes as salt='…'."""
    whole = content(f"{name}.json")
    found = re.search(r"salt='([^']*)'", json.dumps(whole.get("about", "")))
    return str(case.get("salt", whole.get("salt", found[1] if found else "")))


def generated(name: str, case: dict[str, Any]) -> dict[str, np.ndarray]:
    """The weights of a case by the reference's keys, checked against their checksum, without constants."""
    generator, grain = weightgen(), salt(name, case)
    made = {key: generator.gen(key, shape, grain, case["gain"]) for key, shape, _ in case["state"]}
    arrays = {key: array for key, array in made.items() if array is not None}
    assert generator.checksum(arrays) == case["weights_crc"], (
        "this numpy does not repeat the streams of the set"
    )
    return arrays


def read_override(text: str) -> tuple[list[str], Any]:
    """The keys and the value of `Loss.Train.0.CELoss.weight=0.5` or `Loss.Train[0]…`; the value is YAML."""
    path, _, written = text.partition("=")
    value = yaml.safe_load(written)
    if isinstance(value, str):
        try:  # YAML 1.1 takes a number without a point, such as 1e-3, for text
            value = float(value)
        except ValueError:
            value = None if value == "None" else value
    return re.findall(r"[^.\[\]]+", path), value


def at(tree: Any, keys: Sequence[str]) -> Any:
    """What lies below a path of keys and list indices."""
    for key in keys:
        tree = tree[int(key) if isinstance(tree, list) else key]
    return tree


def put(tree: Any, keys: Sequence[str], value: Any) -> None:
    """Set what lies below a path of keys and list indices; sections that are not there are made."""
    *parents, last = keys
    for key in parents:
        if isinstance(tree, dict) and tree.get(key) is None:
            tree[key] = {}
        tree = at(tree, [key])
    tree[int(last) if isinstance(tree, list) else last] = value


def weightgen() -> ModuleType:
    """The generator of weights and inputs that lies beside the numbers."""
    specification = importlib.util.spec_from_file_location("weightgen", FOLDER / "weightgen.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
