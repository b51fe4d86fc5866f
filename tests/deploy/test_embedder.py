"""Pictures in, vectors out, whatever a picture is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from lookalike import Embedder, Recipe
from lookalike.core import machine
from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.machine import available_threads
from lookalike.deploy.calibration import calibrate
from lookalike.deploy.quantisation.running import open_graph
from lookalike.deploy.runtimes.runtime import OnnxRuntime
from lookalike.images import Preprocess, decode_image
from lookalike.images.feature_table import FeatureTable
from lookalike.training import evaluate
from tests.tiny import recipe_values


@pytest.fixture(scope="module")
def model(trained: Path) -> Embedder:
    return Embedder(trained / "inference")


@pytest.fixture(scope="module")
def some(pictures: Path) -> list[Path]:
    return sorted((pictures / "pictures" / "class 6").iterdir())


def test_every_form_of_a_picture_gives_the_same(model: Embedder, some: list[Path]) -> None:
    path = some[0]
    array = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    forms = [str(path), path, path.read_bytes(), Image.open(path), array]
    vectors = model.encode(forms)
    assert vectors.shape == (5, 16)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, np.repeat(vectors[:1], 5, axis=0), atol=1e-6)
    for form in forms:  # one alone, without a list around it
        np.testing.assert_allclose(model.encode(form), vectors[:1], atol=1e-6)
    np.testing.assert_allclose(model.encode(np.stack([array, array])), vectors[:2], atol=1e-6)


def test_order_and_batches_do_not_matter(model: Embedder, some: list[Path]) -> None:
    whole = model.encode(some)
    np.testing.assert_allclose(model.encode(some, batch_size=3, workers=1), whole, atol=1e-6)
    np.testing.assert_allclose(model.encode(iter(some[::-1]), batch_size=1), whole[::-1], atol=1e-6)


def test_nothing_gives_nothing(model: Embedder) -> None:
    assert model.encode([]).shape == (0, 16)


def test_a_generator_of_anything(model: Embedder, some: list[Path]) -> None:
    """Paths, stacks of pictures, tensors and what gives a picture, mixed, none of which is held."""
    arrays = [decode_image(path) for path in some]
    tensors = torch.from_numpy(np.stack(arrays[4:6]).transpose(0, 3, 1, 2))

    def pictures() -> Iterator[Any]:
        yield some[0].as_uri()
        yield some[1].read_bytes()
        yield np.stack(arrays[2:4])
        yield tensors.float() / 255
        yield lambda: some[6]
        yield Image.open(some[7])

    whole = model.encode(some)
    np.testing.assert_allclose(model.encode(pictures()), whole, atol=1e-6)
    parts = list(model.stream(pictures(), batch_size=3, workers=2))
    assert [positions.tolist() for positions, _ in parts] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    np.testing.assert_allclose(np.concatenate([vectors for _, vectors in parts]), whole, atol=1e-6)
    with pytest.raises(UserError, match="download it"):
        model.encode(["https://example.com/a.jpg"])


def test_a_graph_that_normalises_is_handed_pixels(model: Embedder, some: list[Path]) -> None:
    """They are bit for bit those that are normalised for another."""
    preprocess = model.preprocess
    pixels, arithmetic = preprocess.split()

    def values(batch: np.ndarray) -> np.ndarray:
        return np.array(batch.reshape(len(batch), -1)[:, ::7])

    taken = []

    def normalising(batch: np.ndarray) -> np.ndarray:
        taken.append((batch.dtype, batch.shape, batch.flags.c_contiguous))
        return values(arithmetic(batch))

    plain = Embedder.of(values, preprocess, 439, None, "", "plain")
    whole = Embedder.of(normalising, preprocess, 439, None, "", "whole")
    whole.geometry = pixels
    np.testing.assert_array_equal(whole.encode(some, batch_size=8), plain.encode(some))
    assert taken == [(np.uint8, (8, 32, 32, 3), True)]


def test_a_broken_picture_raises_or_is_told(model: Embedder, some: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(some[0].read_bytes()[:40])
    mixed = [some[0], broken, tmp_path / "gone.png", some[1]]
    with pytest.raises(BrokenImage, match=r"broken\.png"):
        model.encode(mixed)
    told: dict[int, str] = {}
    vectors = model.encode(mixed, batch_size=2, on_broken=lambda i, error: told.__setitem__(i, error.path))
    assert told == {1: str(broken), 2: str(tmp_path / "gone.png")}
    np.testing.assert_allclose(vectors, model.encode(some[:2]), atol=1e-6)
    assert model.encode([broken], on_broken=lambda *_: None).shape == (0, 16)
    errors: dict[int, BrokenImage] = {}
    model.encode(mixed, on_broken=errors.__setitem__)
    assert [errors[position].path for position in (1, 2)] == [str(broken), str(tmp_path / "gone.png")]


def test_broken_pictures_are_skipped_with_a_warning_each(
    model: Embedder, some: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = tmp_path / "gone.png"
    parts = list(model.stream([some[0], gone, some[1], gone], batch_size=2, on_broken="skip"))
    assert [positions.tolist() for positions, _ in parts] == [[0], [2]]
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text[: text.index(":", 10)] for text in told[:2]] == [
        "left out: picture 1",
        "left out: picture 3",
    ]
    assert str(gone) in told[0]
    assert told[2:] == ["2 of 4 pictures are broken and were left out"]
    caplog.clear()
    np.testing.assert_allclose(model.encode(some[:2], on_broken="skip"), model.encode(some[:2]), atol=1e-6)
    assert not caplog.records
    with pytest.raises(UserError, match="on_broken must be 'raise', 'skip' or a function, and is 'ignore'"):
        model.encode(some[:2], on_broken="ignore")  # type: ignore[arg-type]


def test_what_is_no_picture_is_one_sentence(model: Embedder) -> None:
    with pytest.raises(UserError, match="an image must be"):
        model.encode([3])
    with pytest.raises(UserError, match="uint8"):
        model.encode([np.zeros((4, 4, 3), np.float32)])
    for wrong in (None, 3, object()):
        with pytest.raises(UserError, match=rf"^pictures must be .*, got {type(wrong).__name__}$"):
            model.encode(wrong)  # type: ignore[call-overload, arg-type, unused-ignore]
    with pytest.raises(UserError, match=r"picture 0: a tensor must hold pixels, got \(3, 0, 4\)"):
        model.encode(torch.zeros((3, 0, 4)))
    with pytest.raises(UserError, match="batch_size must be a whole number of at least 1, got '8'"):
        model.encode([], batch_size="8")  # type: ignore[arg-type]


def test_what_an_embedder_is_made_of_is_told(trained: Path) -> None:
    for wrong in (None, 3, [trained]):
        told = f"is named by its path, a str or Path, got {type(wrong).__name__}"
        with pytest.raises(UserError, match=f"^a model folder {told}$"):
            Embedder(wrong)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=f"^a checkpoint {told}$"):
            Embedder.from_checkpoint(wrong)  # type: ignore[arg-type]
    for options, told in (
        ({"device": 3}, "unknown device 3 "),
        ({"device": None, "backend": "onnx"}, "unknown device None "),
        ({"backend": None}, "unknown backend 'None' "),
        ({"threads": "2"}, "threads must be a whole number of at least 1, got '2'"),
    ):
        with pytest.raises(UserError, match=told):
            Embedder(trained / "inference", **options)  # type: ignore[arg-type]


def test_what_a_callable_cannot_read_is_a_broken_picture(model: Embedder, some: list[Path]) -> None:
    def gone() -> Image.Image:
        return Image.open("gone.png")

    def cut() -> np.ndarray:
        raise ValueError("cut off")

    def wrong() -> np.ndarray:
        raise KeyError("image")

    told: dict[int, BrokenImage] = {}
    vectors = model.encode([some[0], gone, cut, some[1]], on_broken=told.__setitem__)
    np.testing.assert_allclose(vectors, model.encode(some[:2]), atol=1e-6)
    assert sorted(told) == [1, 2]
    assert "gone.png" in told[1].reason
    assert told[2].reason == "cannot be read: cut off"
    with pytest.raises(BrokenImage, match=r"^picture 1: cannot be read: cut off$") as raised:
        model.encode([some[0], cut])
    assert isinstance(raised.value.__cause__, ValueError)
    with pytest.raises(KeyError):  # a mistake in the callable is no broken picture
        model.encode([some[0], wrong], on_broken="skip")


def test_values_that_are_not_finite_are_one_sentence(trained: Path, some: list[Path]) -> None:
    model = Embedder(trained / "inference")
    model.runtime = lambda batch: np.full((len(batch), 16), np.nan, np.float32)
    with pytest.raises(UserError, match="not finite"):
        model.encode(some[:1])


def test_pictures_of_another_size_are_one_sentence(trained: Path, some: list[Path]) -> None:
    model = Embedder(trained / "inference").with_preprocess(
        Preprocess([{"NormalizeImage": {"order": "hwc"}}])
    )
    with pytest.raises(UserError, match="takes pictures of 3x32x32, but the preprocessing gives 3x32x33"):
        model.encode([np.zeros((32, 32, 3), np.uint8), np.zeros((32, 33, 3), np.uint8)])
    with pytest.raises(UserError, match="takes pictures of 3x32x32, but the preprocessing gives 3x40x40"):
        model.encode(some[:1])


def test_another_preprocessing_makes_a_second_embedder(trained: Path, some: list[Path]) -> None:
    model = Embedder(trained / "inference")
    before, own, known = model.preprocess, model.fingerprint, model.encode(some[:2])
    cut = Preprocess(
        [
            {"ResizeImage": {"size": [40, 40]}},
            {"CropImage": {"size": [32, 32]}},
            {"NormalizeImage": {"scale": "1/255", "mean": [0.5] * 3, "std": [0.5] * 3, "order": "hwc"}},
        ]
    )
    other = model.with_preprocess(cut)
    assert other.runtime is model.runtime
    assert not np.allclose(other.encode(some[:2]), known, atol=1e-3)
    np.testing.assert_array_equal(model.encode(some[:2]), known)
    assert (model.preprocess, model.fingerprint) == (before, own)
    assert other.fingerprint == f"{own}, preprocessing {cut.fingerprint()}"
    assert model.with_preprocess(Preprocess.from_json(before.to_json())) is model
    vectors = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    labelled = FeatureTable(vectors, [str(n) for n in range(40)], np.arange(40) // 2)
    assert model.folder is not None
    model.folder.thresholds = calibrate(own, labelled, resamples=5).to_json()
    assert model.thresholds() is not None
    assert other.thresholds() is None
    model.geometry = before.split().pixels
    with pytest.raises(UserError, match="so that no other can be used"):
        model.with_preprocess(cut)


def test_vectors_are_those_of_the_evaluation(
    model: Embedder, pictures: Path, trained: Path, some: list[Path]
) -> None:
    values = recipe_values(pictures, trained)
    best = trained / "RecModel" / "best_model"
    values["Global"]["pretrained_model"] = str(best)
    found = evaluate(Recipe.from_dict(values), keep_features=True)
    assert found.query_set is not None
    assert found.query_set.paths is not None
    np.testing.assert_allclose(model.encode(found.query_set.paths), found.query_set.features, atol=1e-4)
    from_checkpoint = Embedder.from_checkpoint(best)
    # batches of another size than those of the evaluation are rounded differently: by 1.4e-5 on some CPUs
    np.testing.assert_allclose(
        from_checkpoint.encode(found.query_set.paths), found.query_set.features, atol=5e-5
    )
    assert from_checkpoint.size == 16
    assert from_checkpoint.fingerprint != model.fingerprint


def test_any_layer_of_a_checkpoint(trained: Path, some: list[Path]) -> None:
    best = trained / "RecModel" / "best_model"
    for layer, width in (("backbone.blocks4", 32), ("backbone", 32), ("neck", 16)):
        model = Embedder.from_checkpoint(best, layer=layer)
        vectors = model.encode(some[:3])
        assert vectors.shape == (3, model.size)
        if layer != "backbone.blocks4":
            assert model.size == width
    assert model.fingerprint != Embedder.from_checkpoint(best).fingerprint
    with pytest.raises(UserError, match="no_such_layer"):
        Embedder.from_checkpoint(best, layer="no_such_layer")
    with pytest.raises(UserError, match="neither a model folder nor a checkpoint"):
        Embedder.from_checkpoint(trained)


@pytest.mark.parametrize(("method", "threshold"), [("sign", 0.0), ("round", 0.5)])
def test_binary_codes_are_bits(
    trained: Path, some: list[Path], method: Literal["round", "sign"], threshold: float
) -> None:
    plain = Embedder(trained / "inference")
    model = Embedder(trained / "inference")
    model.binarize = method
    codes = model.encode(some)
    assert codes.shape == (8, 2)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(np.unpackbits(codes, axis=1), plain.encode(some) > threshold)
    assert model.encode([]).shape == (0, 2)


@pytest.mark.parametrize("threads", ["", "2", "3,2", "many"])
def test_threads_of_the_environment(trained: Path, monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    options = OnnxRuntime(trained / "inference" / "model.onnx").session.get_session_options()
    everything = 0 if available_threads() == os.cpu_count() else available_threads()
    assert options.intra_op_num_threads == {"2": 2, "3,2": 3}.get(threads, everything)


def test_processors_that_are_not_ours_are_not_computed_with(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "_QUOTA", trained / "no quota")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    graph = trained / "inference" / "model.onnx"
    for ours, threads in (({0, 1, 2, 3}, 0), ({1}, 1), ({0, 2}, 2)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, ours=ours: ours)
        for session in (OnnxRuntime(graph).session, open_graph(onnx.load(graph))):
            assert session.get_session_options().intra_op_num_threads == threads


def test_broken_bytes_are_named_by_their_position(model: Embedder, some: list[Path]) -> None:
    with pytest.raises(BrokenImage, match=r"^picture 2: "):
        model.encode([some[0].read_bytes(), some[1].read_bytes(), b"junk"])


def test_it_says_what_it_is(model: Embedder, trained: Path) -> None:
    assert repr(model) == f"<Embedder of {trained / 'inference'}: 16 numbers, {type(model.runtime).__name__}>"
    with pytest.raises(UserError, match=r"model.onnx is a file: name the model folder"):
        Embedder(trained / "inference/model.onnx")
