"""Feature files: the vectors of images with path, label and camera, as .npz, .parquet, or .npy and a list.

Whatever made them, the columns are `vectors`, `paths`, `labels`, `cameras`. Nothing that is read runs code:
arrays of Python objects are refused. A folder of parts (`feature_shards`) is read like one file.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.core.errors import UserError, missing_extra
from lookalike.core.files import atomic_file
from lookalike.images.feature_shards import STATE, is_sharded, parts_of, read_state
from lookalike.images.feature_table import COLUMNS, FeatureTable, numbers_or_text
from lookalike.images.list_files import read_named_list

WRITTEN = (".npz", ".parquet")
READ = (".npz", ".parquet", ".npy")
_NOTE = "extraction"


def check_writable(path: str | Path) -> None:
    """Raise UserError for a file that `write_features` could not write, before the work is done."""
    path = Path(path)
    check_kind(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder")


def check_kind(path: str | Path) -> None:
    """Raise UserError for a name whose kind of file cannot be written here, whatever is in its place."""
    path = Path(path)
    if path.suffix.lower() not in WRITTEN:
        raise UserError(f"{path}: the file must end in .npz or .parquet")
    if path.suffix.lower() == ".parquet":
        _need_pyarrow("writing Parquet")


def write_features(path: str | Path, table: FeatureTable, note: str | None = None) -> None:
    """Write a table to a .npz or .parquet file, with a note that `read_note` finds.

    Raises UserError as `check_writable`, and OSError.
    """
    check_writable(path)
    columns = table.columns()
    with atomic_file(path) as file:
        if Path(path).suffix.lower() == ".npz":
            arrays: dict[str, Any] = {**columns}
            if table.bits is not None:
                arrays["bits"] = np.int64(table.bits)
            if note is not None:
                arrays[_NOTE] = np.array(note)
            np.savez(file, **arrays)
            return
        import pyarrow
        import pyarrow.parquet

        vectors = columns.pop("vectors")
        rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), vectors.shape[1])
        told = {} if table.bits is None else {"bits": str(table.bits)}
        if note is not None:
            told[_NOTE] = note
        written = pyarrow.table({"vectors": rows, **columns}).replace_schema_metadata(told or None)
        pyarrow.parquet.write_table(written, file)


def read_note(path: str | Path) -> str | None:
    """The note of a file that `write_features` wrote, without its vectors; None where it has none.

    Raises UserError for a file that is missing or damaged.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return str(file[_NOTE]) if _NOTE in file.files else None
        _need_pyarrow("reading Parquet")
        import pyarrow.parquet

        told = (pyarrow.parquet.read_schema(path).metadata or {}).get(_NOTE.encode())
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:  # pyarrow's own are ValueErrors too
        raise UserError(f"{path} is damaged: {error}") from None
    return None if told is None else told.decode()


def read_features(
    path: str | Path, *, list_file: str | None = None, root: str | None = None, bits: int | None = None
) -> FeatureTable:
    """Read a feature file, or a folder of its parts. A .npy file, which stays on the disk, holds vectors
    only.

    list_file: what says path, label and camera of each row, `path label [camera]` a line, where the file
        itself does not; `root` is the folder that its paths start from, by default that of the list.
    bits: the vectors are codes of so many bits, packed (uint8) or with a column for each; where None, what
        the file says. Booleans are codes. Other vectors of uint8 without a word on bits are refused: they may
        be either.

    Raises UserError, with the file, for one that cannot be read, and as `FeatureTable.of_columns`.
    """
    path = Path(path)
    columns, told = _read_parts(path) if is_sharded(path) else _read_file(path)
    if list_file is not None:
        columns |= _listed(list_file, root, path, columns)
    return FeatureTable.of_columns(columns, str(path), told if bits is None else bits)


Columns = dict[str, npt.NDArray[Any]]


def _read_file(path: Path) -> tuple[Columns, int | None]:
    suffix = path.suffix.lower()
    if suffix not in READ:
        raise UserError(f"{path}: a feature file ends in .npz, .parquet or .npy")
    if path.is_dir():
        raise UserError(f"{path}: there is no such file, it is a folder (of parts it would hold {STATE})")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    return {".npz": _read_npz, ".parquet": _read_parquet, ".npy": _read_npy}[suffix](path)


def _read_parts(folder: Path) -> tuple[Columns, int | None]:
    """The columns of all parts, joined. Besides the result only one part is in memory."""
    vectors: npt.NDArray[Any] | None = None
    others: list[Columns] = []
    kinds: set[tuple[Any, ...]] = set()
    rows = 0
    for file in parts_of(folder):
        columns, bits = _read_file(file)
        part = columns.pop("vectors")
        others.append(columns)
        if not len(part):
            continue  # all its pictures were broken
        kinds.add((bits, part.shape[1:], part.dtype, *sorted(columns)))
        if len(kinds) > 1:
            raise UserError(f"{file}: its vectors are of another kind than those of the parts before it")
        if vectors is None:  # with room for what may have been broken, which takes no memory
            vectors = np.empty((read_state(folder)["pictures"], *part.shape[1:]), part.dtype)
        if rows + len(part) > len(vectors):
            raise UserError(
                f"{folder} is damaged: it holds more vectors than the {len(vectors)} pictures of it"
            )
        vectors[rows : rows + len(part)] = part
        rows += len(part)
    if vectors is None:
        raise UserError(f"{folder}: there are no vectors in it")
    joined = {name: np.concatenate([part[name] for part in others]) for name in others[0]}
    return {"vectors": vectors[:rows], **joined}, next(iter(kinds))[0]


def _read_npz(path: Path) -> tuple[Columns, int | None]:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no .npz file or is damaged")
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: _array(file, name, path) for name in _known(file.files, path)}
            bits = _array(file, "bits", path) if "bits" in file.files else None
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no .npz file or is damaged: {error}") from None
    if bits is not None and (bits.shape or bits.dtype.kind not in "iu" or bits < 1):
        raise UserError(f"{path}: 'bits' must be one whole number, got {bits!r}")
    return columns, None if bits is None else int(bits)


def _array(file: Any, name: str, path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UserError(
            f"{path}: '{name}' is an array of Python objects, which could run code when read: "
            f"store {'text as np.array([...], dtype=str)' if name != 'vectors' else 'one table of numbers'}"
        ) from None
    return array


def _read_npy(path: Path) -> tuple[Columns, int | None]:
    try:
        return {"vectors": np.lib.format.open_memmap(path, mode="r")}, None
    except (ValueError, EOFError, OSError) as error:
        if "Python objects" in str(error):
            raise UserError(
                f"{path} holds Python objects, which could run code when read: store one table of numbers"
            ) from None
        raise UserError(f"{path} is no .npy file or is damaged: {error}") from None


def _read_parquet(path: Path) -> tuple[Columns, int | None]:
    _need_pyarrow("reading Parquet")
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
        table = pyarrow.parquet.read_table(path, columns=_known(schema.names, path))
        told = (schema.metadata or {}).get(b"bits")
        bits = None if told is None else int(told)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is no .parquet file or is damaged: {error}") from None
    columns: Columns = {}
    for name in table.column_names:
        values = table.column(name).combine_chunks()
        if values.null_count:
            raise UserError(f"{path}: '{name}' is empty in {values.null_count} rows")
        columns[name] = _matrix(values, path) if name == "vectors" else _plain(values)
    return columns, bits


def _known(names: Sequence[str], path: Path) -> list[str]:
    """Those columns of a file that mean something."""
    if "vectors" not in names:
        raise UserError(f"{path}: there is no 'vectors' in it (it holds: {', '.join(names) or 'nothing'})")
    return [name for name in COLUMNS if name in names]


def _matrix(values: Any, path: Path) -> npt.NDArray[Any]:
    """A column of lists of equal length as a matrix."""
    import pyarrow

    kind = values.type
    if not (
        pyarrow.types.is_list(kind)
        or pyarrow.types.is_large_list(kind)
        or pyarrow.types.is_fixed_size_list(kind)
    ):
        raise UserError(f"{path}: 'vectors' must be a column of lists of numbers, got {kind}")
    lengths = np.unique(values.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) > 1:
        raise UserError(f"{path}: the vectors are of different sizes, from {lengths[0]} to {lengths[-1]}")
    flat = values.flatten()
    if flat.null_count:
        raise UserError(f"{path}: 'vectors' holds {flat.null_count} empty values")
    numbers: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    return numbers.reshape(len(values), -1) if len(values) else numbers.reshape(0, 0)


def _plain(values: Any) -> npt.NDArray[Any]:
    """A column as an array of numbers or text."""
    import pyarrow

    if pyarrow.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    found: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    is_text = pyarrow.types.is_string(values.type) or pyarrow.types.is_large_string(values.type)
    return found.astype(str) if is_text else found


def _listed(list_file: str, root: str | None, path: Path, columns: Columns) -> Columns:
    """Paths, labels and cameras of the rows of a file, from a list."""
    twice = [name for name in ("labels", "paths") if name in columns]
    if twice:
        raise UserError(f"{path} says '{twice[0]}' itself: leave the list {list_file} away")
    listed = read_named_list(list_file, root)
    rows = len(columns["vectors"])
    if rows != len(listed.paths):
        raise UserError(f"{list_file} names {len(listed.paths)} pictures and {path} holds {rows} vectors")
    found = {"paths": np.array(listed.paths), "labels": numbers_or_text(listed.labels)}
    return found if listed.cameras is None else found | {"cameras": np.array(listed.cameras, np.int64)}


def _need_pyarrow(purpose: str) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise missing_extra("pyarrow", "parquet", purpose)
