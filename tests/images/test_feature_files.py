"""Feature files of any origin: what is read, what is refused and how it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.images.feature_files import check_writable, read_features, write_features
from lookalike.images.feature_table import FeatureTable

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
PATHS = ["a.png", "b.png", "c.png", "é.png"]


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
@pytest.mark.parametrize(
    ("labels", "cameras"),
    [(np.array([3, 3, 7, 7]), np.array([0, 1, 0, 1])), (np.array(["x", "x", "y", "y"]), None), (None, None)],
)
def test_what_is_written_is_read(
    tmp_path: Path, suffix: str, labels: np.ndarray | None, cameras: np.ndarray | None
) -> None:
    file = tmp_path / f"features.{suffix}"
    write_features(file, FeatureTable(VECTORS, PATHS, labels, cameras))
    found = read_features(file)
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert found.vectors.dtype == np.float32
    assert (found.paths, found.bits, found.origin) == (PATHS, None, str(file))
    for given, read in ((labels, found.labels), (cameras, found.cameras)):
        assert (None if given is None else given.tolist()) == (None if read is None else read.tolist())


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_codes_say_how_many_bits_they_have(tmp_path: Path, suffix: str) -> None:
    codes = np.random.default_rng(0).integers(0, 2, (4, 12), dtype=np.uint8)
    file = tmp_path / f"codes.{suffix}"
    write_features(file, FeatureTable(np.packbits(codes, axis=1), PATHS, bits=12))
    found = read_features(file)
    assert (found.bits, found.is_packed, found.vectors.shape) == (12, True, (4, 2))
    np.testing.assert_array_equal(found.codes(), codes)


def test_which_bytes_are_codes(tmp_path: Path) -> None:
    file = tmp_path / "codes.npy"
    packed = np.array([[255, 0], [1, 128]], dtype=np.uint8)
    np.save(file, packed)
    with pytest.raises(
        UserError, match=r"codes.npy: 'vectors' are 2 bytes each.*say how many bits \(--bits 16\)"
    ):
        read_features(file)
    assert read_features(file, bits=16).codes().sum(axis=1).tolist() == [8, 2]
    assert read_features(file, bits=15).codes().sum(axis=1).tolist() == [8, 2]
    with pytest.raises(UserError, match=r"codes of 17 bits are 3 bytes .* or 17 values each, got 2 of uint8"):
        read_features(file, bits=17)
    with pytest.raises(UserError, match="only 0 and 1, or only -1 and 1"):
        read_features(file, bits=2)
    for unpacked in (packed > 1, np.where(packed > 1, 1.0, -1.0)):
        np.save(file, unpacked)
        found = read_features(file, bits=None if unpacked.dtype == bool else 2)
        assert (found.bits, found.is_packed) == (2, False)


def test_vectors_with_a_list(tmp_path: Path) -> None:
    file, listed = tmp_path / "v.npy", tmp_path / "list.txt"
    np.save(file, VECTORS)
    listed.write_text("a.png 1 0\nb.png 1 1\nc.png 2 0\nd.png 2 1\n", encoding="utf-8")
    found = read_features(file, list_file=str(listed), root="/pictures")
    assert found.paths == ["/pictures/a.png", "/pictures/b.png", "/pictures/c.png", "/pictures/d.png"]
    assert (found.labels.tolist(), found.cameras.tolist()) == ([1, 1, 2, 2], [0, 1, 0, 1])
    assert isinstance(found.vectors, np.memmap)
    listed.write_text("a.png 1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"list.txt names 1 pictures and .*v.npy holds 4 vectors"):
        read_features(file, list_file=str(listed))
    np.savez(tmp_path / "v.npz", vectors=VECTORS, labels=[1, 1, 2, 2])
    with pytest.raises(UserError, match=r"says 'labels' itself: leave the list .*list.txt away"):
        read_features(tmp_path / "v.npz", list_file=str(listed))


def test_columns_of_other_kinds(tmp_path: Path) -> None:
    file = tmp_path / "v.npz"
    np.savez(
        file,
        vectors=VECTORS.astype(np.float16),
        labels=np.array([1.0, 1, 2, 2]),
        paths=np.array(["a", "b", "c", "d"], dtype="S"),
    )
    found = read_features(file)
    assert found.vectors.dtype == np.float16
    assert found.labels.dtype == np.int64
    assert found.paths == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"features": VECTORS}, r"there is no 'vectors' in it \(it holds: features\)"),
        ({"vectors": VECTORS[0]}, "'vectors' must be a table with a row for each picture, got 3"),
        ({"vectors": VECTORS[:0]}, r"there are no vectors in it \(0 x 3\)"),
        ({"vectors": np.array([["a"]])}, "'vectors' must be numbers, got text"),
        ({"vectors": np.array([[None]])}, "'vectors' is an array of Python objects, which could run"),
        ({"vectors": VECTORS, "labels": np.array([1, 2, 3, None])}, "'labels' is an array of Python objects"),
        ({"vectors": VECTORS, "labels": np.arange(3)}, "'labels' must hold one value for each of .*got 3"),
        ({"vectors": VECTORS, "labels": np.array([0, 0, 1, 1.5])}, "'labels' must be whole numbers or text"),
        ({"vectors": VECTORS, "labels": np.array([0, 0, 1, np.nan])}, "got fractions or NaN"),
        ({"vectors": VECTORS, "paths": np.arange(4)}, "'paths' must be text, got int64"),
        ({"vectors": VECTORS, "paths": np.array(["a", "", "b", "c"])}, "'paths' is empty in 1 rows"),
        ({"vectors": VECTORS, "bits": np.array("x")}, "'bits' must be one whole number"),
        ({"vectors": np.where(VECTORS == 7, np.nan, 1)}, "1 of 4 vectors hold NaN .*, the first is row 2"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, arrays: dict[str, np.ndarray], sentence: str) -> None:
    file = tmp_path / "v.npz"
    np.savez(file, **arrays)
    with pytest.raises(UserError, match=sentence) as caught:
        read_features(file)
    assert str(caught.value).startswith(str(file))


def test_files_that_are_none(tmp_path: Path) -> None:
    for name in ("v.npz", "v.npy", "v.parquet"):
        (tmp_path / name).write_bytes(b"no such file")
        with pytest.raises(UserError, match=f"{name} is no .{name[2:]} file or is damaged"):
            read_features(tmp_path / name)
    np.save(tmp_path / "objects.npy", np.array([[None]]))
    with pytest.raises(UserError, match=r"objects.npy holds Python objects"):
        read_features(tmp_path / "objects.npy")
    with pytest.raises(UserError, match=r"ends in .npz, .parquet or .npy"):
        read_features(tmp_path / "v.csv")
    with pytest.raises(UserError, match="there is no such file"):
        read_features(tmp_path / "gone.npz")
    with pytest.raises(UserError, match=r"must end in .npz or .parquet"):
        check_writable(tmp_path / "v.npy")


def test_parquet_of_others(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "v.parquet"

    def written(**columns: object) -> Path:
        parquet.write_table(pyarrow.table(columns), file)
        return file

    labels = pyarrow.array(["x", "x", "y", "y"]).dictionary_encode()
    found = read_features(written(vectors=VECTORS.tolist(), labels=labels, other=[1, 2, 3, 4]))
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert found.labels.tolist() == ["x", "x", "y", "y"]
    for columns, sentence in (
        ({"vectors": [[1.0], [1.0, 2.0]]}, "of different sizes, from 1 to 2"),
        ({"vectors": [[1.0], [None]]}, "'vectors' holds 1 empty values"),
        ({"vectors": [[1.0], None]}, "'vectors' is empty in 1 rows"),
        ({"vectors": [1.0, 2.0]}, "must be a column of lists of numbers, got double"),
        ({"embedding": [[1.0]]}, r"no 'vectors' in it \(it holds: embedding\)"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_features(written(**columns))


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.images.feature_files.importlib.util.find_spec", lambda name: None)
    (tmp_path / "v.parquet").touch()
    with pytest.raises(UserError, match=r"reading Parquet needs pyarrow.*lookalike\[parquet\]"):
        read_features(tmp_path / "v.parquet")
    with pytest.raises(UserError, match=r"writing Parquet needs pyarrow"):
        check_writable(tmp_path / "v.parquet")
