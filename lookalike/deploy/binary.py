"""How the numbers of a feature become the bits of a code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Binarise = Literal["round", "sign"]

ONE_ABOVE: Mapping[Binarise, float] = {"round": 0.5, "sign": 0.0}
"""A number above this is the bit 1, any other the bit 0.

`round` is for numbers in 0 … 1, of which a half goes to 0, the even one; `sign` for those on both sides of 0.
"""
