"""Numbers as recipes write them: `0.00392157`, `1e-4`, `1.0/255.0`. Parsed, never evaluated as code."""

from __future__ import annotations

import ast
import math
import numbers
import operator
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from lookalike.core.errors import UserError

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def parse_number(text: str) -> float:
    """The value of an arithmetic expression of numbers with + - * / and brackets.

    Raises ValueError for anything else, and for what is not finite.
    """
    if len(text) > 200:
        raise ValueError("a number is not that long")
    try:
        value = float(_value(ast.parse(text.strip(), mode="eval").body))
    except (SyntaxError, ZeroDivisionError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"'{text}' is not a number") from error
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is not finite")
    return value


def as_count(given: object, name: str) -> int:
    """A whole number of at least 1 that a caller gives. Raises UserError, which names it, for all else."""
    if isinstance(given, bool) or not isinstance(given, numbers.Integral) or given < 1:
        raise UserError(f"{name} must be a whole number of at least 1, got {given!r}")
    return int(given)


def _value(node: ast.expr) -> float:
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, (int, float))
        and not isinstance(node.value, bool)
    ):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return float(_BINARY[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    raise ValueError("only numbers, + - * / and brackets are allowed")


def _coerce(value: object) -> object:
    return parse_number(value) if isinstance(value, str) else value


Number = Annotated[float, BeforeValidator(_coerce)]
"""A float argument that may also be written as an expression such as `1.0/255.0`."""

Positive = Annotated[Number, Field(gt=0)]
"""A `Number` above 0: what divides, or what scales and must not turn the order round."""


def _different(sizes: list[int]) -> list[int]:
    if not sizes:
        raise ValueError("at least one is needed")
    for size in sizes:
        if sizes.count(size) > 1:
            raise ValueError(f"{size} stands twice")
    return sizes


Sizes = Annotated[list[Annotated[int, Field(ge=1)]], AfterValidator(_different)]
"""How many of the first numbers of a feature, one or more times, all different: `[32, 64, 128]`."""
