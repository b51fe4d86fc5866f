"""Label files: what is read, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.images import Records, check_images, check_labels, read_records, unify_classes, write_list
from lookalike.images.formats import formats


def listing(folder: Path, text: str | bytes, **arguments: Any) -> Records:
    file = folder / "list.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    section = {"name": "ImageNetDataset", "image_root": str(folder), "cls_label_path": str(file), **arguments}
    return read_records(section)


def refused(folder: Path, text: str | bytes, **arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        listing(folder, text, **arguments)
    return str(caught.value).replace(str(folder) + "/", "")


def test_a_list_becomes_records(tmp_path: Path) -> None:
    records = listing(tmp_path, "a.jpg 3\nsub/b.png 0 17\n/elsewhere/c.jpg 3\n")
    assert records.paths == [f"{tmp_path}/a.jpg", f"{tmp_path}/sub/b.png", "/elsewhere/c.jpg"]
    assert records.labels.dtype == np.int64
    assert records.labels.tolist() == [3, 0, 3]
    assert records.cameras is None
    assert records.class_names is None
    assert (len(records), records.num_classes) == (3, 2)
    assert records.where(1) == f"{tmp_path}/list.txt:2"


def test_byte_order_mark_windows_lines_and_empty_lines_are_tolerated(tmp_path: Path) -> None:
    records = listing(tmp_path, b"\xef\xbb\xbfa.jpg 1\r\n\r\n   \r\nb.jpg 2\r\n")
    assert records.paths == [f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"]
    assert records.labels.tolist() == [1, 2]
    assert records.where(1).endswith("list.txt:4")


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("my pictures/red shoe.jpg 5", "my pictures/red shoe.jpg", 5),
        ("my pictures/red shoe.JPEG 5 77 x", "my pictures/red shoe.JPEG", 5),
        ("photo 12 b.png 5", "photo 12 b.png", 5),
        ("a.jpg 5 77", "a.jpg", 5),
        ("a.jpg 5 seen from 12.jpg 6", "a.jpg", 5),
        ("a.jpg   5", "a.jpg", 5),
        ("two  blanks.webp 5", "two  blanks.webp", 5),
        ("without_suffix 5 77", "without_suffix", 5),
    ],
)
def test_paths_with_spaces(tmp_path: Path, line: str, path: str, label: int) -> None:
    records = listing(tmp_path, line + "\n")
    assert records.paths == [f"{tmp_path}/{path}"]
    assert records.labels.tolist() == [label]


def test_another_delimiter_lets_paths_hold_anything(tmp_path: Path) -> None:
    records = listing(tmp_path, "no suffix 3 4\t7\textra\n", delimiter="\t")
    assert records.paths == [f"{tmp_path}/no suffix 3 4"]
    assert records.labels.tolist() == [7]


def test_relabel_numbers_in_ascending_order(tmp_path: Path) -> None:
    records = listing(tmp_path, "a.jpg 5000\nb.jpg 3\nc.jpg 8\nd.jpg 3\n", relabel=True)
    assert records.labels.tolist() == [2, 0, 1, 0]
    assert records.class_names == {0: "3", 1: "8", 2: "5000"}
    assert records.name_of(2) == "5000"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 1\nb.jpg\n", "list.txt:2: expected 'path label' separated by ' ', got 'b.jpg'"),
        ("a.jpg\t1\n", "columns seem to be separated by '\\t': set delimiter: \"\\t\""),
        ("a.jpg 1\n\nb.jpg cat\n", "list.txt:3: label 'cat' is no integer"),
        ("a.jpg 1.0\n", "list.txt:1: label '1.0' is no integer"),
        ("a.jpg 0\nb.jpg -1\n", "list.txt:2: label -1 is negative"),
        ("a.jpg 99999999999999999999\n", "list.txt:1: label 99999999999999999999 is too large"),
        ("\n \n", "list.txt: the list is empty"),
        ("", "list.txt: the list is empty"),
        ("\xe9.jpg 1\n".encode("latin-1"), "list.txt is not UTF-8 text"),
        ("a.jpg 1\n".encode("utf-16"), "list.txt is not UTF-8 text"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "list.txt is a binary file"),
        (bytes(64), "list.txt is a binary file"),
    ],
)
def test_wrong_lists_are_refused_with_the_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    said = refused(tmp_path, text)
    assert message in said
    assert "\n" not in said


def test_a_missing_list_or_root_is_named(tmp_path: Path) -> None:
    section = {"name": "ImageNetDataset", "image_root": str(tmp_path), "cls_label_path": "nowhere.txt"}
    with pytest.raises(UserError, match=r"list file nowhere\.txt does not exist"):
        read_records(section)
    with pytest.raises(UserError, match="is a folder; for a folder per class write 'name: FolderDataset'"):
        read_records({**section, "cls_label_path": str(tmp_path)})
    with pytest.raises(UserError, match="image_root no/such is no folder"):
        listing(tmp_path, "a.jpg 1\n", image_root="no/such")


def test_unknown_formats_and_arguments_are_refused() -> None:
    with pytest.raises(UserError, match="unknown dataset 'ImageNetDatasets', did you mean 'ImageNetDataset'"):
        read_records({"name": "ImageNetDatasets"})
    with pytest.raises(UserError, match="unknown argument 'relable', did you mean 'relabel'"):
        read_records({"name": "ImageNetDataset", "image_root": "", "cls_label_path": "x", "relable": True})


def test_transforms_are_left_to_the_caller(tmp_path: Path) -> None:
    assert (
        len(listing(tmp_path, "a.jpg 1\n", transform_ops=[{"ResizeImage": {}}], batch_transform_ops=[])) == 1
    )


def test_cartoon_lists_are_split_at_tabs(tmp_path: Path) -> None:
    assert listing(tmp_path, "a b.jpg\t4\n", name="ICartoonDataset").paths == [f"{tmp_path}/a b.jpg"]


def test_veri_wild_reads_cameras_when_all_lines_have_them(tmp_path: Path) -> None:
    with_cameras = listing(tmp_path, "a.jpg 1 7\nb.jpg\t2  9\n", name="VeriWild", backend="pil")
    assert with_cameras.labels.tolist() == [1, 2]
    assert with_cameras.cameras is not None
    assert with_cameras.cameras.tolist() == [7, 9]
    without = listing(tmp_path, "a.jpg 1\nmy b.jpg 2\n", name="VeriWild", relabel=True)
    assert without.cameras is None
    assert without.labels.tolist() == [0, 1]
    assert without.paths[1] == f"{tmp_path}/my b.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 1 7\nb.jpg 2\n", "list.txt:2: 2 columns where the lines before have 3"),
        ("a.jpg 1\nb.jpg 2\nc.jpg 3 7\n", "list.txt:3: 3 columns where the lines before have 2"),
        ("a.jpg 1 7 8\n", "list.txt:1: expected 'path label' or 'path label camera', got 4 columns"),
        ("a.jpg 1 c7\n", "list.txt:1: camera 'c7' is no integer"),
        ("a.jpg\n", "list.txt:1: expected 'path label' separated by blanks"),
    ],
)
def test_wrong_veri_wild_lists(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text, name="VeriWild")


def test_folders_are_classes_in_sorted_order(tmp_path: Path) -> None:
    for name in ("dog/2.JPG", "dog/1.png", "cat/deep/er/x.webp", "cat/notes.txt", ".cache/y.jpg", "top.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    records = read_records({"name": "FolderDataset", "image_root": str(tmp_path)})
    names = ["cat/deep/er/x.webp", "dog/1.png", "dog/2.JPG"]
    assert records.paths == [f"{tmp_path}/{name}" for name in names]
    assert records.labels.tolist() == [0, 1, 1]
    assert records.class_names == {0: "cat", 1: "dog"}
    assert records.where(0) == records.paths[0]


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images in it; expected a folder for each class"):
        read_records({"name": "ImageFolder", "image_root": str(tmp_path)})
    with pytest.raises(UserError, match="is no folder"):
        read_records({"name": "FolderDataset", "image_root": str(tmp_path / "none")})
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(UserError, match=r"1\.jpg; 1 file was left aside: 1 \.heic; .*it is a HEIC picture"):
        read_records({"name": "ImageFolder", "image_root": str(tmp_path)})


def test_pictures_of_another_kind_in_class_folders_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("cat/1.jpg", "cat/2.HEIC", "cat/notes.txt", "dog/deep/1.heic", "dog/.a.heic", "dog/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for _ in range(2):
        read_records({"name": "FolderDataset", "image_root": str(tmp_path)})
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{tmp_path}: 2 files were left aside: 2 .heic"]


def table(folder: Path, text: str, suffix: str = ".csv", **arguments: Any) -> Records:
    file = folder / f"table{suffix}"
    file.write_text(text, encoding="utf-8")
    return read_records({"name": "TableDataset", "table": str(file), **arguments})


def test_tables_by_named_columns(tmp_path: Path) -> None:
    text = 'id,path,label,cam\n1,"a, b.jpg",shoe,4\n\n2,c.jpg,hat,5\n3,d.jpg,shoe,4\n'
    records = table(tmp_path, text, camera_column="cam")
    assert records.paths == [f"{tmp_path}/{name}" for name in ("a, b.jpg", "c.jpg", "d.jpg")]
    assert records.labels.tolist() == [1, 0, 1]
    assert records.class_names == {0: "hat", 1: "shoe"}
    assert records.cameras is not None
    assert records.cameras.tolist() == [4, 5, 4]
    assert records.where(1) == f"{tmp_path}/table.csv:4"
    numbers = table(
        tmp_path, "file\tclass\na.jpg\t9\nb.jpg\t2\n", ".tsv", path_column="file", label_column="class"
    )
    assert numbers.labels.tolist() == [9, 2]
    assert numbers.class_names is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,labels\na.jpg,1\n", "no column 'label', did you mean 'labels'? (columns: path, labels)"),
        ("path,label\na.jpg,1\nb.jpg\n", "table.csv:3: 1 columns, but column 'label' is number 2"),
        ("path,label\na.jpg,1\n,2\n", "table.csv:3: no path in column 'path'"),
        ("path,label\na.jpg,cat\nb.jpg,\n", "table.csv:3: no label in column 'label'"),
        ("path,label\na.jpg,1\nb.jpg,-1\n", "table.csv:3: label -1 is negative"),
        ("path,label\n", "the table has no rows"),
        ("", "the table is empty"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        table(tmp_path, text)
    assert message in str(caught.value)


def test_a_camera_must_be_a_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"table\.csv:3: camera 'north' in column 'cam' is no integer"):
        table(tmp_path, "path,label,cam\na.jpg,1,2\nb.jpg,1,north\n", camera_column="cam")


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"path": ["a.jpg", "b.jpg"], "label": [4, 1], "cam": [0, 3]}), file)
    records = read_records({"name": "TableDataset", "table": str(file), "camera_column": "cam"})
    assert records.labels.tolist() == [4, 1]
    assert records.cameras is not None
    assert records.cameras.tolist() == [0, 3]
    assert records.paths[0] == f"{tmp_path}/a.jpg"
    (tmp_path / "x.parquet").write_text("nothing")
    with pytest.raises(UserError, match="not a Parquet file"):
        read_records({"name": "TableDataset", "table": str(tmp_path / "x.parquet")})
    with pytest.raises(UserError, match="no column 'label_id'"):
        read_records({"name": "TableDataset", "table": str(file), "label_column": "label_id"})


def test_every_format_documents_itself() -> None:
    for entry in formats:
        assert entry.build.__doc__, entry.name


def test_labels_beyond_class_num_are_named_with_a_remedy(tmp_path: Path) -> None:
    records = listing(tmp_path, "a.jpg 0\nb.jpg 431\nc.jpg 2\n")
    with pytest.raises(UserError) as caught:
        check_labels(records, 431)
    said = str(caught.value)
    assert "list.txt:2: label 431 does not fit class_num 431, which allows 0 to 430" in said
    assert "set class_num to 432, or relabel: True to number the 3 different labels from 0" in said
    with pytest.raises(
        UserError, match="3 different labels; set class_num to 432, or to 3 together with relabel"
    ):
        check_labels(records, 2)
    check_labels(records, 432)


def test_broken_images_are_listed(tmp_path: Path, picture: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), picture)
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    records = listing(
        tmp_path, "".join(f"{n} 0\n" for n in ("good.png", "text.jpg", "none.jpg", "empty.jpg"))
    )
    found = dict(check_images(records, workers=2))
    assert set(found) == {1, 2, 3}
    assert "cannot be decoded" in found[1]
    assert "does not exist" in found[2]
    assert "empty" in found[3]
    assert [i for i, _ in check_images(records, workers=2, decode=False)] == [2, 3]
    assert check_images(listing(tmp_path, "folder.jpg 0\n"), decode=False) == [(0, "is a folder")]


def test_subset(tmp_path: Path) -> None:
    records = listing(tmp_path, "a.jpg 1 7\nb.jpg 2 8\nc.jpg 3 9\n", name="VeriWild").subset([2, 0])
    assert [Path(path).name for path in records.paths] == ["c.jpg", "a.jpg"]
    assert records.labels.tolist() == [3, 1]
    assert records.cameras is not None
    assert records.cameras.tolist() == [9, 7]
    assert records.where(0).endswith(":3")


@pytest.mark.parametrize(
    ("name", "delimiter"), [("ImageNetDataset", "\t"), ("ImageNetDataset", ","), ("VeriWild", " ")]
)
def test_written_lists_are_read_back(tmp_path: Path, name: str, delimiter: str) -> None:
    cameras = np.array([5, 6]) if name == "VeriWild" else None
    records = Records([f"{tmp_path}/x/é.jpg", f"{tmp_path}/b.jpg"], np.array([4, 2]), cameras, "made")
    write_list(tmp_path / "list.txt", records, delimiter, image_root=tmp_path)
    text = (tmp_path / "list.txt").read_bytes()
    assert text.startswith(f"x/é.jpg{delimiter}4".encode())
    again = listing(tmp_path, text, name=name, **({} if name == "VeriWild" else {"delimiter": delimiter}))
    assert again.paths == records.paths
    assert again.labels.tolist() == [4, 2]
    if cameras is not None:
        assert again.cameras is not None
        assert again.cameras.tolist() == [5, 6]


def test_a_path_with_the_delimiter_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds the delimiter"):
        write_list(tmp_path / "x.txt", Records(["a,b.jpg"], np.array([0])), ",")
    assert not (tmp_path / "x.txt").exists()


def test_classes_of_several_tables_are_numbered_alike(tmp_path: Path) -> None:
    query = table(tmp_path, "path,label\na.jpg,hat\nb.jpg,shoe\n")
    gallery = table(tmp_path, "path,label\nc.jpg,bag\nd.jpg,shoe\n")
    assert query.labels[1] == gallery.labels[1] == 1
    query, gallery = unify_classes(query, gallery)
    assert query.labels.tolist() == [1, 2]
    assert gallery.labels.tolist() == [0, 2]
    assert query.class_names == gallery.class_names == {0: "bag", 1: "hat", 2: "shoe"}
    plain = listing(tmp_path, "a.jpg 1\n")
    assert unify_classes(plain, plain) == [plain, plain]
    with pytest.raises(UserError, match="plain numbers"):
        unify_classes(query, plain)
