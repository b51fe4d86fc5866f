"""The gallery answers as a plain loop over cosines would, and keeps what it was given."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lookalike import Embedder, Gallery
from lookalike.core.errors import UserError
from lookalike.gallery import Conflict
from lookalike.gallery.store import Store


@pytest.fixture(scope="module")
def model(trained: Path) -> Embedder:
    return Embedder(trained / "inference")


@pytest.fixture(scope="module")
def paths(pictures: Path) -> list[str]:
    return sorted(str(path) for path in (pictures / "pictures").rglob("*.png"))


@pytest.fixture
def gallery(model: Embedder, paths: list[str], tmp_path: Path) -> Gallery:
    made = Gallery.create(tmp_path / "g", model)
    made.add(paths[:40], [Path(path).parent.name for path in paths[:40]])
    return made


def test_search_equals_a_plain_loop_over_cosines(gallery: Gallery, model: Embedder, paths: list[str]) -> None:
    enrolled, queries = model.encode(paths[:40]), model.encode(paths[40:50])
    for answers, query in zip(gallery.search_many(paths[40:50], k=7), queries, strict=True):
        cosines = [float(query @ one / (np.linalg.norm(query) * np.linalg.norm(one))) for one in enrolled]
        expected = sorted(cosines, reverse=True)[:7]
        assert [each.score for each in answers] == pytest.approx(expected, abs=1e-6)
        for each in answers:  # of equal scores any may come first, but each score belongs to its picture
            assert each.score == pytest.approx(cosines[paths.index(each.path)], abs=1e-6)
            assert each.label == Path(each.path).parent.name
        assert len({each.id for each in answers}) == 7


def test_vectors_that_are_not_normalised_are_compared_by_cosine(
    trained: Path, paths: list[str], tmp_path: Path
) -> None:
    model = Embedder(trained / "inference")
    run = model.runtime
    model.runtime = lambda batch: 40 * run(batch) * np.linspace(0.5, 2, len(batch), dtype=np.float32)[:, None]
    made = Gallery.create(tmp_path / "g", model)
    made.add(paths[:8], range(8))  # type: ignore[arg-type]
    best = made.search(paths[3], k=1)[0]
    assert (best.label, best.score) == ("3", pytest.approx(1.0, abs=1e-6))
    assert best.score <= 1.0


def test_add_tells_what_it_left_out(gallery: Gallery, paths: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG")
    new = paths[40]
    told = gallery.add([paths[0], new, str(broken), new, paths[41]], ["a", "b", "c", "d", "e"])
    assert (told.added, told.known) == (2, [paths[0], new])
    assert [path for path, _ in told.broken] == [str(broken)]
    assert told.conflicts == [Conflict(paths[0], "class 0", "a"), Conflict(new, "b", "d")]
    assert gallery.add([paths[0], new], ["class 0", "b"]).conflicts == []
    assert gallery.info()["pictures"] == 42
    assert gallery.search(new, k=1)[0].label == "b"
    assert gallery.add([], []).added == 0
    with pytest.raises(UserError, match="2 pictures but 1 labels"):
        gallery.add(paths[:2], ["a"])
    with pytest.raises(UserError, match="two lists"):
        gallery.add(paths[0], "a")
    with pytest.raises(UserError, match="two lists"):
        gallery.add(None, None)  # type: ignore[arg-type]
    for wrong in (None, 3):
        with pytest.raises(UserError, match=f"^a gallery is named by its path, .* {type(wrong).__name__}$"):
            Gallery.create(wrong, gallery.embedder)  # type: ignore[arg-type]


def test_add_warns_once_of_broken_pictures_and_once_of_conflicts(
    gallery: Gallery, paths: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in broken:
        path.write_bytes(b"\x89PNG")
    pictures, labels = [*paths[:3], *map(str, broken)], ["class 0", "x", "y", "z", "z"]
    gallery.add(pictures, labels, warn=False)
    assert not caplog.records
    gallery.add(pictures, labels)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"pictures left out because they are broken: 2, the first: {broken[0]}: ")
    assert second == (
        f"pictures that stay enrolled under another label: 2, the first: {paths[1]} stays 'class 0'; 'x' was "
        "not taken"
    )
    caplog.clear()
    gallery.add(paths[:3], ["class 0"] * 3)
    assert not caplog.records


def test_pixels_are_enrolled_without_a_path(gallery: Gallery) -> None:
    pixels = [np.full((20, 20, 3), value, np.uint8) for value in (10, 200)]
    assert gallery.add(pixels, ["dark", "bright"]).added == 2
    assert gallery.add(pixels[:1], ["dark"]).added == 1  # nothing says that it is the same picture
    assert gallery.search(pixels[1], k=1)[0].label == "bright"
    assert gallery.search(pixels[1], k=1)[0].path == ""


def test_k_may_be_larger_than_the_gallery(gallery: Gallery, paths: list[str]) -> None:
    assert len(gallery.search(paths[0], k=1000)) == 40
    with pytest.raises(UserError, match="k must be a whole number of at least 1, got 0"):
        gallery.search(paths[0], k=0)


def test_an_empty_gallery_says_so(model: Embedder, paths: list[str], tmp_path: Path) -> None:
    made = Gallery.create(tmp_path / "empty", model)
    assert made.info()["pictures"] == 0
    with pytest.raises(UserError, match="is empty"):
        made.search(paths[0])
    assert Gallery.open(tmp_path / "empty").add(paths[:1], ["ein Schuh · 鞋"]).added == 1
    assert made.search(paths[0])[0].label == "ein Schuh · 鞋"


def test_another_model_is_refused(gallery: Gallery, trained: Path, paths: list[str]) -> None:
    other = Embedder.from_checkpoint(trained / "RecModel" / "best_model")
    with pytest.raises(UserError, match="was made with another model"):
        Gallery.open(gallery.folder, other)
    assert Gallery.open(gallery.folder, trained / "inference").search(paths[0], k=1)[0].path == paths[0]


def test_an_existing_folder_is_refused(gallery: Gallery, model: Embedder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        Gallery.create(gallery.folder, model)
    (tmp_path / "empty folder").mkdir()
    with pytest.raises(UserError, match="exists already"):
        Gallery.create(tmp_path / "empty folder", model)


def answers(folder: Path, path: str) -> list[tuple[str, float]]:
    return [(each.path, round(each.score, 5)) for each in Gallery.open(folder).search(path, k=3)]


def test_an_index_that_is_gone_damaged_or_foreign_is_made_again(
    gallery: Gallery, paths: list[str], model: Embedder, tmp_path: Path
) -> None:
    expected = answers(gallery.folder, paths[0])
    index = gallery.folder / "index.faiss"
    whole = index.read_bytes()
    other = Gallery.create(tmp_path / "other", model)
    other.add(paths[40:43], ["x"] * 3)
    other.search(paths[0])
    foreign = (tmp_path / "other" / "index.faiss").read_bytes()
    for content in (b"", b"junk", whole[:100], whole[: len(whole) - 9], b"\xff" * len(whole), foreign):
        index.write_bytes(content)
        assert answers(gallery.folder, paths[0]) == expected
        assert index.read_bytes() == whole
    index.unlink()
    assert answers(gallery.folder, paths[0]) == expected
    index.unlink()
    index.mkdir()  # cannot be read nor written: the answer is the same
    assert answers(gallery.folder, paths[0]) == expected


def test_an_index_older_than_the_store_is_made_again(
    gallery: Gallery, paths: list[str], trained: Path
) -> None:
    gallery.search(paths[50])
    other = Gallery.open(gallery.folder, trained / "inference")
    other.add([paths[50]], ["new"])
    assert gallery.search(paths[50], k=1)[0].label == "new"  # an open gallery sees what another process adds
    assert answers(gallery.folder, paths[50])[0][0] == paths[50]


def test_a_saved_index_is_used(gallery: Gallery, paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answers(gallery.folder, paths[0])

    def never(store: Store) -> None:
        raise AssertionError("the index fits the store")

    monkeypatch.setattr(Store, "vectors", never)
    assert answers(gallery.folder, paths[0]) == expected


@pytest.mark.parametrize("method", ["sign", "round"])
def test_binary_galleries(trained: Path, paths: list[str], tmp_path: Path, method: str) -> None:
    model = Embedder(trained / "inference")
    model.binarize, model.fingerprint = method, "binary"
    made = Gallery.create(tmp_path / "g", model)
    made.add(paths[:20], range(20))  # type: ignore[arg-type]
    assert made.info()["kind"] == "binary"
    codes = np.unpackbits(model.encode(paths[:20]), axis=1)
    query = np.unpackbits(model.encode([paths[30]]), axis=1)[0]
    similar = [1 - float((query != code).mean()) for code in codes]
    found = Gallery.open(tmp_path / "g", model).search(paths[30], k=20)
    assert [each.score for each in found] == pytest.approx(sorted(similar, reverse=True))
    assert all(each.score == pytest.approx(similar[int(each.label)]) for each in found)
    assert made.add(paths[20:22], ["20", "21"]).added == 2  # binary galleries can be appended to


def test_a_damaged_store_is_one_sentence(gallery: Gallery, paths: list[str]) -> None:
    file = gallery.folder / "gallery.sqlite"
    content = file.read_bytes()
    for damaged in (b"", b"no database" * 400, content[:4096] + b"\xff" * (len(content) - 4096)):
        file.write_bytes(damaged)
        (gallery.folder / "index.faiss").unlink(missing_ok=True)
        with pytest.raises(UserError, match=r"gallery\.sqlite|format None"):
            Gallery.open(gallery.folder).search(paths[0])
    file.unlink()
    with pytest.raises(UserError, match="is not a gallery"):
        Gallery.open(gallery.folder)
    assert not file.exists()


def test_a_gallery_may_be_moved_and_read_where_nothing_may_be_written(
    gallery: Gallery, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(gallery.folder, paths[0])
    moved = Path(shutil.copytree(gallery.folder, tmp_path / "elsewhere"))
    assert answers(moved, paths[0]) == expected
    before = sorted((path.name, path.stat().st_mtime_ns) for path in moved.iterdir())
    monkeypatch.setattr("lookalike.gallery.store.os.access", lambda *_: False)
    assert answers(moved, paths[0]) == expected
    assert sorted((path.name, path.stat().st_mtime_ns) for path in moved.iterdir()) == before
