"""A model folder as a module of sentence-transformers: its `encode`, `util` and losses for pictures.

    pip install sentence-transformers 'lookalike[train]'
    python examples/with_sentence_transformers.py inference my_pictures photo.jpg

finds what is most like `photo.jpg` among `my_pictures/*/*`. The network is the one of `model.safetensors` in
PyTorch, so `model.to("cuda")`, `model.similarity` and a SentenceTransformerTrainer work as with any other.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, util
from torch import Tensor, nn

from lookalike import ModelFolder
from lookalike.deploy import load_torch


class Pictures(nn.Module):
    """A model folder as the first and only module. A picture is whatever Embedder takes."""

    modalities = ("image",)

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        opened = ModelFolder.open(folder)
        self.preprocessing: Any = opened.before_graph()
        self.network, self.size = load_torch(opened), opened.size

    def preprocess(self, inputs: Sequence[Any], **options: Any) -> dict[str, Tensor]:
        return {"pixels": torch.from_numpy(np.stack([self.preprocessing(picture) for picture in inputs]))}

    tokenize = preprocess  # its name before sentence-transformers 6

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**features, "sentence_embedding": self.network(features["pixels"])}

    def get_embedding_dimension(self) -> int:
        return self.size

    get_sentence_embedding_dimension = get_embedding_dimension


def main(folder: str, pictures: str, *queries: str) -> None:
    model = SentenceTransformer(modules=[Pictures(folder)], device="cpu")
    paths = [str(path) for path in sorted(Path(pictures).glob("*/*")) if path.is_file()]
    vectors = model.encode(paths, convert_to_tensor=True)
    found = util.semantic_search(model.encode(list(queries), convert_to_tensor=True), vectors, top_k=3)
    for query, answers in zip(queries, found, strict=True):
        for answer in answers:
            print(f"{query}: {paths[answer['corpus_id']]} ({answer['score']:.3f})")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
