"""Reading `.pdparams`, the pickles that Paddle writes, without letting them run anything.

The unpickler admits what rebuilds NumPy arrays and ordered dicts, and nothing else; any other name in the
file is an error before it is called. Tensors inside nested objects are (name, array) tuples; bfloat16 is
stored as uint16.
"""

from __future__ import annotations

import codecs
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.core.errors import UserError

NAME_TABLE = "StructuredToParameterName@@"
"""Key under which Paddle keeps the names of its parameters beside the arrays."""


class _Refused(pickle.UnpicklingError):
    """A name that a file of weights has no business with."""


def _dtype(*arguments: Any) -> np.dtype[Any]:
    found: np.dtype[Any] = np.dtype(*arguments)
    if found.hasobject:
        raise _Refused("arrays of Python objects")
    return found


def _encode(text: str, encoding: str = "utf-8") -> bytes:
    # protocol 2 stores bytes as text in latin-1; other codecs could decompress or transform
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"the codec {encoding}")
    return codecs.latin_1_encode(text)[0]


def _from_buffer(buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> np.ndarray:
    # protocol 5; the copy makes the array writable
    return np.array(np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order))


def _array_pieces() -> dict[tuple[str, str], Callable[..., Any]]:
    # numpy 1 and 2 keep the same two functions at different addresses; asking an array for them works with
    # both
    reconstruct: Any = np.empty(0).__reduce__()[0]
    scalar: Any = np.float32(0).__reduce__()[0]
    pieces: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _dtype,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): OrderedDict,
        ("builtins", "tuple"): tuple,
        ("__builtin__", "tuple"): tuple,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        pieces[module, "_reconstruct"] = reconstruct
        pieces[module, "scalar"] = scalar
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        pieces[module, "_frombuffer"] = _from_buffer
    return pieces


_ADMITTED = _array_pieces()


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def read_paddle_object(path: str | Path) -> Any:
    """What a file of `paddle.save` holds: dicts, lists, numbers, strings, arrays.

    The (name, array) tuples that stand for tensors become arrays.

    Raises UserError for a file that is missing, broken, or asks for anything but arrays.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return _plain(_ArrayUnpickler(file).load())
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except _Refused as refused:
        raise UserError(
            f"{path}: not read, because it asks for {refused}, and a file of weights holds arrays only"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a broken pickle fails in many ways
        raise UserError(f"{path}: is not a file of Paddle weights, or is broken ({error})") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    is_pair = isinstance(value, tuple) and len(value) == 2
    if is_pair and isinstance(value[0], str) and isinstance(value[1], np.ndarray):
        return value[1]
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(inner) for inner in value)
    return value


def bfloat16_to_float32(array: np.ndarray) -> np.ndarray:
    """The numbers whose upper 16 bits a uint16 array holds."""
    return (array.astype(np.uint32) << 16).view(np.float32)


def read_pdparams(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict by the reference's keys; bfloat16 as float32, the table of names left out.

    Raises UserError for a file that holds something else.
    """
    held = read_paddle_object(path)
    if not isinstance(held, dict):
        raise UserError(f"{path}: holds a {type(held).__name__}, not a state dict of named arrays")
    arrays: dict[str, np.ndarray] = {}
    for key, value in held.items():
        if key == NAME_TABLE:
            continue
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.asarray(value)
            arrays[str(key)] = bfloat16_to_float32(array) if array.dtype == np.uint16 else array
    if not arrays:
        raise UserError(f"{path}: holds no arrays")
    return arrays
