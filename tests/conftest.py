"""What all tests share.

The folder of real pictures, tiny pictures, one trained model, and a clean slate for warnings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the networks here are so small that threads only get in each other's way

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(),
    reason="the folder ../shared with real pictures and weights is not beside the repository",
)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is measured and fetched here is not kept for the user, nor taken from what is kept for him."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKALIKE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _fresh_warnings() -> None:
    from lookalike.core.log import forget_warnings

    forget_warnings()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny pictures and their train, query and gallery lists."""
    from tests.tiny import draw_pictures

    return draw_pictures(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one short run: checkpoints in RecModel/, the model folder in inference/."""
    from lookalike import Recipe, export, train
    from tests.tiny import recipe_values

    output = tmp_path_factory.mktemp("trained")
    train(Recipe.from_dict(recipe_values(pictures, output)))
    recipe = Recipe.from_dict(recipe_values(pictures, output))
    recipe.global_.pretrained_model = str(output / "RecModel" / "best_model")
    export(recipe)
    return output
