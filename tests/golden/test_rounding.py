"""Why later steps of the training runs part from the reference: one rounding of float32 parts them as far.

`pytest -m slow -s tests/golden/test_rounding.py` prints, for every training run of the golden set, how far
ours is from the reference, from itself in float64, and from itself on pictures disturbed by one rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.golden import golden
from tests.golden.test_train_steps import FIRST_GRADIENT, Numbers, deviation, missing, numbers

RUNS = 5
INSIDE = 0.97
"""Share of the reference's gradient norms that must lie among those of our own disturbed runs."""


def _line(name: str, found: Numbers, losses: np.ndarray, gradients: np.ndarray) -> float:
    steps = deviation(found.losses, losses).max(axis=1)
    worst = deviation(found.gradients, gradients)
    several = (worst > FIRST_GRADIENT).sum()
    print(
        f"  {name:26s} losses by step {np.round(steps, 4).tolist()}, gradient norms at most "
        f"{worst.max():.4f}, {several} of {len(worst)} above {FIRST_GRADIENT}"
    )
    return float(worst.max())


@pytest.mark.slow
@golden.parametrize("train_steps", missing=missing)
def test_the_reference_is_one_of_our_disturbed_runs(case: dict[str, Any]) -> None:
    """The reference lies as near to ours as ours to itself after one rounding, and among those runs."""
    expected = golden.under(golden.arrays("train_steps"), case["id"])
    ours, exact = numbers(case, expected), numbers(case, expected, double=True)
    others = [numbers(case, expected, disturbance=seed + 1) for seed in range(RUNS)]
    losses = np.stack([expected[f"out/{name}"] for name in ours.names], axis=1)
    gradients = expected["grad_norm/values"]

    print(f"\n{case['id']}")
    apart = _line("reference", ours, losses, gradients)
    _line("reference (our float64)", exact, losses, gradients)
    own = [_line("our float64", ours, exact.losses, exact.gradients)]
    own += [_line(f"disturbed {n + 1}", ours, run.losses, run.gradients) for n, run in enumerate(others)]
    norms = np.stack([run.gradients for run in (ours, exact, *others)])
    slack = FIRST_GRADIENT * gradients
    inside = ((gradients >= norms.min(axis=0) - slack) & (gradients <= norms.max(axis=0) + slack)).mean()
    print(f"  gradient norms of the reference among ours: {inside:.3f}")
    assert apart <= max(FIRST_GRADIENT, 2 * max(own))
    assert inside >= INSIDE
