"""The index of a gallery: FAISS, derived from the store and made again whenever it does not fit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from lookalike.core.files import atomic_file


class Index:
    """Exact search by cosine (inner product of normalised vectors), or by Hamming distance for binary
    vectors.
    """

    def __init__(self, kind: str, size: int, ids: NDArray[np.int64], vectors: NDArray) -> None:
        self.kind, self.size = kind, size
        if kind == "binary":
            self.faiss: Any = faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(size))
        else:
            self.faiss = faiss.IndexIDMap2(faiss.IndexFlatIP(size))
        if len(ids):
            self.faiss.add_with_ids(self._prepared(vectors), ids)
        self.version = _version(self.faiss)

    def search(self, vectors: NDArray, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Scores (higher is nearer) and ids of the k nearest of each vector.

        The score is the cosine; for binary vectors it is 1 - distance / bits.
        """
        k = min(k, self.faiss.ntotal)
        scores, ids = self.faiss.search(self._prepared(vectors), k)
        if self.kind == "binary":
            return 1.0 - scores.astype(np.float64) / self.size, ids
        return np.clip(scores.astype(np.float64), -1.0, 1.0), ids  # float32 may give 1.0000001

    def _prepared(self, vectors: NDArray) -> NDArray:
        if self.kind == "binary":
            return np.ascontiguousarray(vectors)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.ascontiguousarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)

    def save(self, file: Path) -> None:
        write = faiss.serialize_index_binary if self.kind == "binary" else faiss.serialize_index
        with atomic_file(file) as opened:
            opened.write(write(self.faiss).tobytes())

    @classmethod
    def load(cls, file: Path, kind: str, size: int) -> Index:
        """Read a saved index.

        Raises RuntimeError when FAISS cannot read it, or when it is another kind of index.
        """
        data = np.frombuffer(file.read_bytes(), np.uint8)
        loaded = cls(kind, size, np.zeros(0, np.int64), np.zeros((0, 0)))
        read = (faiss.deserialize_index_binary if kind == "binary" else faiss.deserialize_index)(data)
        if type(read) is not type(loaded.faiss) or read.d != size:
            raise RuntimeError(f"it holds a {type(read).__name__} of {read.d} dimensions")
        loaded.faiss, loaded.version = read, _version(read)
        return loaded


def _version(index: Any) -> str:
    """`Store.version` of the pictures that an index was made of: their number and the last id."""
    ids = faiss.vector_to_array(index.id_map)
    return f"{len(ids)}-{int(ids.max(initial=0))}"
