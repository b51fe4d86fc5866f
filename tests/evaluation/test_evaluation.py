"""Figures from loaders: which image is whose match, what is reported, what goes wrong and how it is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.core.log import forget_warnings
from lookalike.evaluation import build_metrics, evaluate
from lookalike.retrieval import evaluate_retrieval
from tests.evaluation.loaders import Vectors, random_set
from tests.retrieval.oracle import naive


def encode(images: torch.Tensor) -> torch.Tensor:
    return images


def unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_query_against_gallery() -> None:
    query, gallery = random_set(30, 1, cameras=True), random_set(50, 2, cameras=True)
    found = evaluate(
        encode, query, gallery, build_metrics(["Recallk", "mAP", "mINP", {"Precisionk": {"topk": 3}}])
    )
    expected, without = naive(
        unit(query.features),
        query.labels,
        unit(gallery.features),
        gallery.labels,
        query.cameras,
        gallery.cameras,
    )
    assert list(found.metrics) == ["recall1", "recall5", "mAP", "mINP", "precision@3"]
    for key, name in {"recall1": "recall@1", "recall5": "recall@5", "mAP": "mAP", "mINP": "mINP"}.items():
        assert found.metrics[key] == pytest.approx(expected[name], abs=1e-6)
    assert found.metrics["precision@3"] == pytest.approx(expected["precision@3"], abs=1e-6)
    assert (found.queries, found.gallery, found.queries_without_positive) == (30, 50, without)
    assert found.seconds > 0
    assert json.loads(json.dumps(found.to_dict()))["metrics"] == found.metrics


def test_cameras_are_used_only_where_both_sides_have_them() -> None:
    query, gallery = random_set(30, 1, cameras=True), random_set(50, 2, cameras=True)
    without = evaluate(encode, replace(query, cameras=None), gallery).metrics
    assert without == evaluate(encode, query, replace(gallery, cameras=None)).metrics
    assert without != evaluate(encode, query, gallery).metrics


def test_an_image_is_never_its_own_match() -> None:
    features = np.float32([[1, 0], [0, 1], [1, 0.1], [0.1, 1]])
    alone = Vectors(features, np.array([0, 1, 1, 0]))
    assert evaluate(encode, alone).metrics["recall1"] == 0.0
    assert evaluate(encode, alone, alone).metrics["recall1"] == 0.0
    assert evaluate(encode, alone, reference_behaviour=True).metrics["recall1"] == 1.0


def test_query_files_that_are_in_the_gallery_too() -> None:
    gallery = random_set(40, 3, paths=[f"images/{i}.png" for i in range(40)])
    same_files = replace(gallery, order=np.arange(40)[::-1])  # listed apart, as a recipe with two blocks does
    assert evaluate(encode, same_files, gallery).metrics == evaluate(encode, gallery).metrics
    part = Vectors(
        gallery.features[10:20], gallery.labels[10:20], paths=[f"./images/{i}.png" for i in range(10, 20)]
    )
    found = evaluate(encode, part, gallery)
    expected, _ = naive(
        unit(part.features),
        part.labels,
        unit(gallery.features),
        gallery.labels,
        same=lambda q, g: q + 10 == g,
    )
    assert found.metrics["mAP"] == pytest.approx(expected["mAP"], abs=1e-6)
    assert evaluate(encode, part, gallery, reference_behaviour=True).metrics["recall1"] == 1.0


def test_a_file_listed_twice_does_not_match_itself() -> None:
    twice = Vectors(np.float32([[1, 0], [1, 0], [0, 1]]), np.zeros(3, np.int64), paths=["a", "a", "b"])
    found = evaluate(encode, twice, top_k=2)
    assert found.top_k.indices.tolist() == [[2, -1], [2, -1], [0, 1]]


def test_padding_is_cut_and_rows_are_in_order() -> None:
    plain = random_set(30, 4, cameras=True)
    order = np.concatenate([np.random.default_rng(0).permutation(30), [3, 3, 7]])
    kept = evaluate(encode, replace(plain, order=order), keep_features=True, top_k=4)
    assert kept.metrics == evaluate(encode, plain).metrics
    assert kept.query_set is kept.gallery_set
    np.testing.assert_array_equal(kept.query_set.indices, np.arange(30))
    np.testing.assert_array_equal(kept.query_set.labels, plain.labels)
    np.testing.assert_allclose(kept.query_set.features, unit(plain.features), atol=1e-6)
    assert kept.top_k.indices.shape == (30, 4)
    assert evaluate(encode, plain).query_set is None


@pytest.mark.parametrize("how", ["round", "sign"])
def test_normalise_and_binarise(how: str) -> None:
    loader = random_set(40, 5)
    x = loader.features
    codes = np.sign(x) if how == "sign" else np.round(x) * 2 - 1
    found = evaluate(encode, loader, feature_normalize=False, feature_binarize=how)
    expected = evaluate_retrieval(codes, loader.labels, codes, loader.labels, exclude_self=True)
    assert found.metrics["mAP"] == expected["mAP"]
    with pytest.raises(UserError, match="feature_binarize must be 'round' or 'sign', got 'tanh'"):
        evaluate(encode, loader, feature_binarize="tanh")


def test_features_out_of_a_dict_and_losses() -> None:
    loader = random_set(40, 6)
    weight = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))

    def outputs(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"features": images.half(), "backbone": images, "logits": images @ weight.T}

    def loss(given: dict[str, torch.Tensor], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        value = torch.nn.functional.cross_entropy(given["logits"], labels)
        return {"CELoss": value, "loss": 2 * value}

    found = evaluate(outputs, loader, feature_from="backbone", loss=loss)
    assert found.metrics == evaluate(encode, loader).metrics
    whole = torch.nn.functional.cross_entropy(
        torch.from_numpy(loader.features) @ weight.T, torch.from_numpy(loader.labels)
    )
    assert found.losses == pytest.approx({"CELoss": float(whole), "loss": 2 * float(whole)}, rel=1e-6)
    with pytest.raises(
        UserError, match="retrieval_feature_from is 'neck', but the model gives: features, backbone, logits"
    ):
        evaluate(outputs, loader, feature_from="neck")


def test_no_gradient_is_kept() -> None:
    seen = []

    def remember(images: torch.Tensor) -> torch.Tensor:
        seen.append(torch.is_grad_enabled())
        return images

    evaluate(remember, random_set(20))
    assert seen == [False, False]


def test_broken_images_are_listed() -> None:
    query = replace(random_set(20, 1), broken={"a.png": "missing"})
    gallery = replace(
        random_set(20, 2),
        broken={"a.png": "missing", "b.png": "cannot be decoded"},
        broken_at={"a.png": "a.png", "b.png": "gallery.txt:3"},
    )
    found = evaluate(encode, query, gallery)
    assert [each[:2] for each in found.broken] == [("a.png", "missing"), ("b.png", "cannot be decoded")]
    told = {"path": "b.png", "reason": "cannot be decoded", "where": "gallery.txt:3"}
    assert found.to_dict()["broken"][1] == told


@pytest.mark.parametrize("has", ["query", "gallery"])
def test_cameras_of_one_set_alone_are_told(has: str, caplog: pytest.LogCaptureFixture) -> None:
    forget_warnings()
    query, gallery = random_set(20, 1, cameras=has == "query"), random_set(20, 2, cameras=has == "gallery")
    for _ in range(2):
        evaluate(encode, query, gallery)
    lacks = "gallery" if has == "query" else "query"
    told = [record.getMessage() for record in caplog.records if "cameras" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(f"the {has} set has cameras and the {lacks} set has none")


def test_diverged_model() -> None:
    loader = random_set(20, paths=[f"{i}.png" for i in range(20)])
    loader.features[[4, 9]] = np.nan
    with pytest.raises(
        UserError, match=r"NaN or infinite features for 2 of 20 query images \(first: 4\.png\)"
    ):
        evaluate(encode, loader)
    with pytest.raises(UserError, match=r"for 2 of 20 gallery images \(first: row 4\)"):
        evaluate(encode, random_set(20), replace(loader, paths=None))


def test_empty_sets() -> None:
    empty = Vectors(np.empty((0, 3), np.float32), np.empty(0, np.int64))
    with pytest.raises(UserError, match="the query set of the evaluation is empty"):
        evaluate(encode, empty, random_set(5))
    with pytest.raises(
        UserError, match="the gallery set of the evaluation is empty: all 1 images are broken"
    ):
        evaluate(encode, random_set(5), replace(empty, broken={"a.png": "missing"}))


def test_no_shared_labels() -> None:
    gallery = random_set(20)
    with pytest.raises(UserError, match="none of the 20 queries has a gallery item with its label"):
        evaluate(encode, replace(gallery, labels=gallery.labels + 100), gallery)
