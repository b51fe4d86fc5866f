"""What an export says of its runtimes, and what it does where one of them is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lookalike import ModelFolder
from lookalike.core.errors import BrokenImage, UserError
from lookalike.deploy.export.conversion import figures_of_sizes, learned_reduction, to_8_bits
from lookalike.deploy.export.reduced import Reduction
from lookalike.deploy.parity_table import table
from lookalike.deploy.proof.parity import LIMITS, compare
from lookalike.deploy.proof.pictures import Pictures, encoded
from lookalike.deploy.proof.samples import evaluation_sample
from lookalike.images import Records
from lookalike.recipe import Recipe
from tests.tiny import recipe_values

LABELS = np.array([0, 0, 1, 1])
FEATURES = np.array([[1, 0.1, 0], [1, 0, 0], [0, 1, 0], [0, 0.9, 0.3]], np.float32)


def pictures(labels: np.ndarray = LABELS, cameras: np.ndarray | None = None) -> Pictures:
    records = Records([f"{i}.png" for i in range(len(labels))], labels, cameras)
    return Pictures.of_records(records, lambda path: np.float32([int(path[0])]), "four")


def given(features: np.ndarray):
    return lambda batch: features[batch[:, 0].astype(int)]


def test_figures_of_a_runtime_by_hand() -> None:
    turned = FEATURES.copy()
    turned[1] = [0, 2, 0]  # at a right angle to what it was
    found = compare(pictures(), given(FEATURES), {"same": given(FEATURES), "other": given(turned)})
    assert (found.pictures, found.data, found.recall1) == (4, "four", 1.0)
    same, other = found.runtimes
    assert (same.largest_difference, same.largest_angle, same.mean_angle) == (0, 0, 0)
    assert (same.same_neighbour, same.recall1) == (1, 1)
    assert (other.largest_difference, other.largest_angle, other.mean_angle) == (2, 1, 0.25)
    # by inner products 0 → 1, 1 → 2, 2 → 1, 3 → 1, where it was 0 → 1, 1 → 0, 2 → 3, 3 → 2
    assert (other.same_neighbour, other.recall1) == (0.25, 0.25)
    assert same.check(LIMITS["float32"]) is None
    assert "by 2 of the largest value (allowed 0.0001)" in str(other.check(LIMITS["float32"]))
    assert "by 0.25 in cosine on the mean (allowed 0.04)" in str(other.check(LIMITS["int8"]))
    head, own, _, last = table(found.to_json(), "float32")
    assert len(head) == len(own) == len(last)
    assert last[0] == "other"
    in_torch = compare(pictures(), given(FEATURES), {"torch": given(FEATURES)}).to_json()
    assert [table(in_torch, each)[-1][0] for each in ("float32", "int8")] == ["torch", "torch, in float32"]


def test_features_that_are_not_finite_are_never_within_a_limit() -> None:
    found = compare(pictures(), given(FEATURES), {"broken": given(FEATURES * np.nan)})
    for limit in LIMITS.values():
        assert "nan" in str(found.runtimes[0].check(limit))
    assert found.runtimes[0].recall1 is None


def test_codes_are_searched_as_codes() -> None:
    code = compare(pictures(), given(FEATURES), {"x": given(-FEATURES)}, lambda x: (x > 0.5).astype(np.uint8))
    assert code.recall1 == 1
    assert code.runtimes[0].recall1 == 0  # four equal codes, and of equals the wrong ones come first


def test_cameras_and_lone_classes() -> None:
    one = compare(pictures(cameras=np.zeros(4, np.int64)), given(FEATURES), {"x": given(FEATURES)})
    assert (one.recall1, one.runtimes[0].same_neighbour) == (None, 1)
    assert compare(pictures(np.arange(4)), given(FEATURES), {}).recall1 is None
    noise = Pictures.of_noise(np.float32([[0], [1], [2]]), "there is no list")
    found = compare(noise, given(FEATURES), {"x": given(FEATURES)})
    assert (found.recall1, found.pictures, found.data) == (None, 3, "noise, because there is no list")


def test_pictures_that_are_all_broken_are_one_sentence() -> None:
    def prepare(path: str) -> np.ndarray:
        raise BrokenImage(path, "it ends too early")

    records = Records(["0.png", "1.png"], np.zeros(2, np.int64))
    broken = Pictures.of_records(records, prepare, "two pictures")
    never = given(FEATURES)
    for embed in (
        lambda: compare(broken, never, {}),
        lambda: encoded(broken, [never]),
        lambda: figures_of_sizes(Reduction.prefix(3, True), 2, [], never, broken),
    ):
        with pytest.raises(UserError, match=r"^two pictures: not one of these pictures could be read$"):
            embed()


@pytest.mark.parametrize(
    "purpose", ["the ranges of 8 bits are learned", "the directions of --dim are learned"]
)
def test_what_training_pictures_are_for_is_told(pictures: Path, tmp_path: Path, purpose: str) -> None:
    values = recipe_values(pictures, tmp_path)
    del values["DataLoader"]["Train"]
    recipe = Recipe.from_dict(values)
    with pytest.raises(UserError, match=f"there is no DataLoader.Train, of whose pictures {purpose}$"):
        to_8_bits(None, recipe, None, 8) if "8 bits" in purpose else learned_reduction(
            recipe, None, None, 8, True
        )


def test_a_sample_has_pairs_of_as_many_classes_as_it_can(pictures: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_dict(recipe_values(pictures, tmp_path))
    for count, expected in ((6, [2, 2, 2]), (4, [2, 2]), (9, [4, 3, 2]), (1000, [8, 8, 8])):
        sample = evaluation_sample(recipe, count)
        assert sorted(Counter(sample.labels.tolist()).values(), reverse=True) == expected
        assert len(set(sample.paths)) == len(sample)
    values = recipe_values(pictures, tmp_path)
    values["DataLoader"]["Eval"]["Query"]["dataset"]["cls_label_path"] = "/nowhere/list.txt"
    with pytest.raises(UserError, match="not there"):
        evaluation_sample(Recipe.from_dict(values), 8)


def test_the_report_is_in_the_folder(trained: Path) -> None:
    told = ModelFolder.open(trained / "inference").parity
    assert told["pictures"] == 24
    assert [each["runtime"] for each in told["runtimes"]] == ["onnxruntime", "torch"]
    for each in told["runtimes"]:
        assert each["largest_angle"] < 1e-6
        assert (each["recall1"], each["same_neighbour"]) == (told["recall1"], 1)
