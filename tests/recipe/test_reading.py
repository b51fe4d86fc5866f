"""YAML into sections: values, places, and one sentence for whatever is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.core.component import Component, Place, Section, SectionList
from lookalike.core.errors import UserError
from lookalike.recipe.reading import read_file, read_text


def error_of(text: str) -> str:
    with pytest.raises(UserError) as caught:
        read_text(text, "r.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_values() -> None:
    read = read_text(
        """
        small: 1e-3
        tiny: 1.0e-20
        large: 1.0e10
        negative: -2E+4
        half: .5
        point: 0.
        whole: 7
        expression: 1.0/255.0
        yes: on
        no: off
        word: 'on'
        nothing: null
        empty:
        date: 2022-01-01
        quoted_number: "0.5"
        text: ''
        """
    )
    assert read["small"] == 0.001
    assert read["tiny"] == 1e-20
    assert read["large"] == 1e10
    assert read["negative"] == -2e4
    assert all(
        isinstance(read[key], float) for key in ("small", "tiny", "large", "negative", "half", "point")
    )
    assert read["whole"] == 7
    assert read["expression"] == "1.0/255.0"
    assert read["yes"] is True  # YAML 1.1: a key is the word as it is written, a value is a boolean
    assert read["no"] is False
    assert read["word"] == "on"
    assert read["nothing"] is None
    assert read["empty"] is None
    assert read["date"] == "2022-01-01"
    assert read["quoted_number"] == "0.5"
    assert read["text"] == ""


def test_python_literals_in_a_mapping_are_read_as_the_reference_reads_them() -> None:
    read = read_text(
        """
        none: None
        true: "True"
        list: "[1, 2.5, 'a']"
        tuple: (224, 224)
        names: "[abc, def]"
        call: "[__import__('os').getcwd()]"
        entries: [None, "[1]"]
        """
    )
    assert read["none"] is None
    assert read["true"] is True
    assert read["list"] == [1, 2.5, "a"]
    assert read["tuple"] == [224, 224]
    assert read["names"] == "[abc, def]"
    assert read["call"] == "[__import__('os').getcwd()]"
    assert read["entries"] == ["None", "[1]"], "the reference leaves strings in lists alone"


def test_every_value_knows_its_place() -> None:
    read = read_text(
        "Loss:\n  Train:\n    - CELoss:\n        weight: 1.0\n    - TripletLossV2:\n        margn: 1\n",
        "r.yaml",
    )
    train = read["Loss"]["Train"]
    assert isinstance(train, SectionList)
    assert str(train.place) == "r.yaml:2: Loss.Train"
    assert isinstance(train[1], Section)
    assert str(train[1].place) == "r.yaml:5: Loss.Train[1]"
    assert str(Component.of(train[1]).place) == "r.yaml:5: Loss.Train[1].TripletLossV2"
    assert str(train[1]["TripletLossV2"].place_of("margn")) == "r.yaml:6: Loss.Train[1].TripletLossV2.margn"


def test_each_use_of_an_anchor_has_its_own_path_and_the_line_where_it_is_written() -> None:
    read = read_text(
        "first: &shared\n  size: 3\n  ops:\n    - Resize:\n        width: 4\n"
        "second: *shared\nthird: [*shared]\n",
        "r.yaml",
    )
    assert str(read["first"].place_of("size")) == "r.yaml:2: first.size"
    assert str(read["second"].place_of("size")) == "r.yaml:2: second.size"
    assert str(read["second"]["ops"][0]["Resize"].place_of("width")) == "r.yaml:5: second.ops[0].Resize.width"
    assert str(read["third"][0].place_of("size")) == "r.yaml:2: third[0].size"
    read["first"]["size"] = 5
    assert read["second"]["size"] == 3, "a change of one use leaves the others"


def test_an_aliased_scalar_stands_where_it_is_used() -> None:
    read = read_text("a: &width 512\nb:\n  c: *width\n", "r.yaml")
    assert read["b"]["c"] == 512
    assert str(read["b"].place_of("c")) == "r.yaml:3: b.c"


def test_merging() -> None:
    read = read_text(
        "one: &one {a: 1, b: 1}\ntwo: &two {b: 2, c: 2}\n"
        "all:\n  <<: [*one, *two]\n  a: 0\nlast:\n  a: 5\n  <<: *one\n",
        "r.yaml",
    )
    assert read["all"] == {"a": 0, "b": 1, "c": 2}
    assert read["last"] == {"a": 5, "b": 1}
    assert str(read["all"].place_of("a")) == "r.yaml:5: all.a"
    assert str(read["all"].place_of("c")) == "r.yaml:2: all.c"
    assert "<<" in error_of("a: 1\nb:\n  <<: 3\n")


def test_a_key_twice_is_an_error() -> None:
    assert error_of("Global:\n  epochs: 1\n  seed: 0\n  epochs: 2\n") == (
        "r.yaml:4:3: the key 'epochs' stands here twice (first in line 2)"
    )


def test_syntax_errors_name_line_and_column() -> None:
    assert error_of("Global:\n\tepochs: 1").startswith("r.yaml:2:1: not valid YAML: ")
    assert error_of("a: [1,\nb: 2").startswith("r.yaml:2:5: not valid YAML: ")
    assert error_of("a: *b") == "r.yaml:1:4: not valid YAML: found undefined alias 'b'"
    assert "r.yaml" in error_of("a: b\n---\nc: d\n")
    assert "r.yaml" in error_of("a: \x00")


def test_a_file_without_sections() -> None:
    assert error_of("") == "r.yaml: is empty"
    assert error_of("# nothing\n") == "r.yaml: is empty"
    assert "must hold sections" in error_of("- a\n")
    assert "must hold sections" in error_of("just words")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['x']",
        "a: !!python/name:os.system",
        "a: !!binary aGVsbG8=",
        "a: !mine 3",
        "a: !!set {b, c}",
        "? [a, b]\n: 3",
    ],
)
def test_only_plain_values_are_read(text: str) -> None:
    assert error_of(text).startswith("r.yaml:1:")


def test_aliases_cannot_fill_the_memory() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "aliases expand to more than" in error_of("\n".join(lines))
    lines = ["m0: &m0 {k: 1}"]
    lines += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 9)]
    assert "aliases expand to more than" in error_of("\n".join(lines))


def test_no_endless_nesting() -> None:
    assert "inside its own anchor" in error_of("a: &a\n  b: *a\n")
    assert "inside its own anchor" in error_of("a: &a\n  <<: *a\n")
    assert "nested" in error_of("a: " + "[" * 1200 + "]" * 1200)
    assert "nested" in error_of("a: " + "[" * 80 + "]" * 80)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file"):
        read_file(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="is a folder"):
        read_file(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("a: ü".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        read_file(tmp_path / "latin.yaml")
    (tmp_path / "huge.yaml").write_bytes(b"a: 1\n" * 1_000_000)
    with pytest.raises(UserError, match="too many for a recipe"):
        read_file(tmp_path / "huge.yaml")
    (tmp_path / "mark.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_file(tmp_path / "mark.yaml") == {"a": 1}


def test_sections_without_a_file_have_a_path_only() -> None:
    read = read_text("a:\n  b: 1\n")
    assert read["a"].place_of("b") == Place("a.b")
