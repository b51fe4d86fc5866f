"""Reading the golden numbers of the reference.

The folder is named by the environment variable LOOKALIKE_GOLDEN (default: ../shared/golden beside the
repository). Tests run every case they find there, so another set in the same layout can take its place.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(
    os.environ.get("LOOKALIKE_GOLDEN")
    or Path(__file__).resolve().parent.parent.parent.parent / "shared" / "golden"
)
_ABSENT = f"no golden numbers at {FOLDER} (set LOOKALIKE_GOLDEN)"


def present() -> bool:
    """Whether the folder is there.

    Where LOOKALIKE_REQUIRE_GOLDEN is set, its absence is an error, not a skip.
    """
    if FOLDER.is_dir():
        return True
    if os.environ.get("LOOKALIKE_REQUIRE_GOLDEN"):
        raise FileNotFoundError(_ABSENT)
    return False


def cases(name: str) -> list[dict[str, Any]]:
    """All cases of a file, [] where the folder is absent."""
    if not present():
        return []
    with open(FOLDER / f"{name}.json", encoding="utf-8") as file:
        return list(json.load(file)["cases"])


def arrays(name: str) -> Any:
    """The arrays of a file, read when first asked for."""
    return np.load(FOLDER / f"{name}.npz", allow_pickle=False)


def parametrize(name: str, missing: Any = None) -> Any:
    """`pytest.mark.parametrize("case", …)` over every case of a file.

    `missing(case)` names the component of a case that does not exist here yet, or returns None; such a case
    is a strict expected failure, so that it has to be turned on when the component arrives.
    """
    found = cases(name)
    if not found:
        return pytest.mark.parametrize("case", [pytest.param({}, marks=pytest.mark.skip(reason=_ABSENT))])
    parameters = []
    for case in found:
        absent = missing(case) if missing else None
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


def salt(name: str) -> str:
    """The salt of a file's weights, which `about` writes as salt='…'."""
    with open(FOLDER / f"{name}.json", encoding="utf-8") as file:
        about = json.dumps(json.load(file)["about"])
    found = re.search(r"salt='([^']*)'", about)
    return found[1] if found else ""


def generated(name: str, case: dict[str, Any]) -> dict[str, np.ndarray]:
    """The weights of a case by the reference's keys, checked against their checksum, without constants."""
    generator, grain = weightgen(), case.get("salt", salt(name))
    made = {key: generator.gen(key, shape, grain, case["gain"]) for key, shape, _ in case["state"]}
    arrays = {key: array for key, array in made.items() if array is not None}
    assert generator.checksum(arrays) == case["weights_crc"], (
        "this numpy does not repeat the streams of the set"
    )
    return arrays


def weightgen() -> ModuleType:
    """The generator of weights and inputs that lies beside the numbers."""
    specification = importlib.util.spec_from_file_location("weightgen", FOLDER / "weightgen.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
