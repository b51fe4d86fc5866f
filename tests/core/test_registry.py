"""The registry: what a recipe may name, and the sentence where it names something else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from lookalike.core.component import Component, Place, Section, SectionList
from lookalike.core.errors import UserError, did_you_mean, missing_extra
from lookalike.core.numbers import Number
from lookalike.core.registry import Registry, Swallowed


@dataclass
class Built:
    arguments: dict[str, Any]


@pytest.fixture
def shapes() -> Registry[Built]:
    registry: Registry[Built] = Registry("shape")

    @registry.register("Circle", "Disc", swallows={"colour": "it is drawn in black"})
    def circle(radius: Number, filled: bool = True, kind: Literal["a", "b"] = "a", seed: int = 0) -> Built:
        return Built({"radius": radius, "filled": filled, "kind": kind, "seed": seed})

    @registry.register("Polygon")
    class Polygon(Built):
        def __init__(self, corners: list[int], **more: Any) -> None:
            super().__init__({"corners": corners, **more})

    return registry


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Circle", "radius": "1.0/2"},
        {"Circle": {"radius": 0.5}},
        {"Disc": {"radius": 0.5, "filled": True}},
        Component("Circle", {"radius": 0.5}),
    ],
)
def test_forms_and_names(shapes: Registry[Built], value: Any) -> None:
    assert shapes.build(value).arguments == {"radius": 0.5, "filled": True, "kind": "a", "seed": 0}


def test_what_the_engine_knows_reaches_only_who_asks(shapes: Registry[Built]) -> None:
    assert shapes.build({"Circle": {"radius": 1}}, seed=7, rank=3).arguments["seed"] == 7
    assert (
        shapes.build({"Circle": {"radius": 1, "seed": 5}}, seed=7).arguments["seed"] == 5
    )  # the recipe wins


def test_arguments_that_the_caller_takes(shapes: Registry[Built]) -> None:
    assert shapes.build({"Circle": {"radius": 1, "weight": 2}}, also=("weight",)).arguments["radius"] == 1
    assert shapes.build({"Polygon": {"corners": [1], "more": 2}}).arguments == {"corners": [1], "more": 2}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            {"Circel": {}},
            "Shapes[0].Circel: unknown shape 'Circel', did you mean 'Circle'? (known: Circle, Disc, Polygon)",
        ),
        ({"Xyz": {}}, "Shapes[0].Xyz: unknown shape 'Xyz' (known: Circle, Disc, Polygon)"),
        (
            {"Circle": {"radius": 1, "fild": 1}},
            "Shapes[0].Circle: unknown argument 'fild', did you mean 'filled'? "
            "(accepts: radius, filled, kind, seed)",
        ),
        (
            {"Circle": {}},
            "Shapes[0].Circle: shape 'Circle' needs 'radius' (accepts: radius, filled, kind, seed)",
        ),
        ({"Circle": {"radius": "wide"}}, "Shapes[0].Circle.radius: must be .*, got 'wide'"),
        ({"Circle": {"radius": "__import__('os').getpid()"}}, "only numbers"),
        (
            {"Circle": {"radius": 1, "filled": "maybe"}},
            "Shapes[0].Circle.filled: must be true or false, got 'maybe'",
        ),
        ({"Circle": {"radius": 1, "kind": "c"}}, "Shapes[0].Circle.kind: must be .*'a'.*'b'.*, got 'c'"),
        ({"Polygon": {"corners": 3}}, "Shapes[0].Polygon.corners: must be a list of whole numbers, got 3"),
        ({"Circle": [1]}, "Shapes[0]: expected a component"),
        ({"Circle": {}, "Polygon": {}}, "Shapes[0]: expected a component"),
        (3, "Shapes[0]: expected a component"),
    ],
)
def test_mistakes_say_where_and_what_is_accepted(shapes: Registry[Built], value: Any, told: str) -> None:
    with pytest.raises(UserError) as caught:
        shapes.build(value, "Shapes[0]")
    assert re.search(re.escape(told).replace(r"\.\*", ".*"), str(caught.value)), caught.value


def test_an_argument_without_effect_is_told_once(
    shapes: Registry[Built], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        shapes.build({"Circle": {"radius": 1, "colour": "red"}}, "Shapes[0]")
    assert [record.message for record in caplog.records] == [
        "Shapes[0].Circle: 'colour' has no effect: it is drawn in black"
    ]


def test_what_several_places_swallow_is_told_with_the_first(
    shapes: Registry[Built], caplog: pytest.LogCaptureFixture
) -> None:
    for index, colour in enumerate((None, False, 0, "red", "blue")):
        shapes.build({"Disc": {"radius": 1, "colour": colour}}, f"Shapes[{index}]")
    assert [record.message for record in caplog.records] == [
        "Shapes[3].Disc: 'colour' has no effect: it is drawn in black"
    ]


def test_values_that_ask_for_nothing(shapes: Registry[Built], caplog: pytest.LogCaptureFixture) -> None:
    shapes.register("Dot", swallows={"round": Swallowed("it is always", harmless=(None, True))})(Built)
    shapes.build({"Dot": {"arguments": {}, "round": True}})
    assert not caplog.records
    shapes.build({"Dot": {"arguments": {}, "round": False}})
    assert [record.message for record in caplog.records] == ["Dot: 'round' has no effect: it is always"]


def test_a_mistake_is_on_the_line_of_its_argument(shapes: Registry[Built]) -> None:
    inner = Section({"radius": "wide", "fild": 1}, Place("Shapes[0].Circle", "my.yaml", 40))
    inner.lines = {"radius": 42, "fild": 44}
    component = Component.of(Section({"Circle": inner}, Place("Shapes[0]", "my.yaml", 40)))
    with pytest.raises(
        UserError, match=r"^my\.yaml:42: Shapes\[0\]\.Circle\.radius: must be a number, got 'wide'"
    ):
        shapes.build(component)
    with pytest.raises(UserError, match=r"^my\.yaml:44: Shapes\[0\]\.Circle: unknown argument 'fild'"):
        shapes.build(component.with_arguments({"radius": 1, "fild": 1}))
    named = Section({"name": "Circle", "radius": "wide"}, Place("Shape", "my.yaml", 50))
    named.lines = {"radius": 52}
    with pytest.raises(UserError, match=r"^my\.yaml:52: Shape\.radius: must be a number"):
        shapes.build(named)


def test_a_place_is_put_in_front_once() -> None:
    place = Place("Sampler", "my.yaml", 3)
    assert str(place.around(UserError("is wrong"))) == "my.yaml:3: Sampler: is wrong"
    assert str(place.around(place.at("batch_size", 5).error("is wrong"))) == (
        "my.yaml:5: Sampler.batch_size: is wrong"
    )


def test_of_a_long_list_only_near_names_are_told() -> None:
    registry: Registry[Built] = Registry("shape", beside="svg/<name>", listed_in="shapes.md")
    for number in range(10, 30):
        registry.register(f"Polygon{number}")(Built)
    with pytest.raises(UserError) as told:
        registry.build("Poligon12")
    assert str(told.value) == (
        "unknown shape 'Poligon12', did you mean 'Polygon12'? (shapes.md lists all, and svg/<name>)"
    )
    with pytest.raises(UserError) as told:
        registry.build("27")
    assert str(told.value) == (
        "unknown shape '27' (such as Polygon27, Polygon29, Polygon28; shapes.md lists all, and svg/<name>)"
    )


def test_components_of_a_stand_in(shapes: Registry[Built]) -> None:
    others: Registry[Built] = Registry("line")
    others.register("Spline")(Built)
    others.stand_ins = (shapes,)
    assert others.build({"Disc": {"radius": 1}}).arguments["radius"] == 1
    assert "Disc" not in others
    with pytest.raises(UserError, match="unknown line 'Circel', did you mean 'Circle'"):
        others.build("Circel")


def test_names_of_another_library_are_told() -> None:
    registry: Registry[Built] = Registry("shape", beside="svg/<name>")
    registry.register("Circle")(Built)
    with pytest.raises(UserError, match=r"unknown shape 'x' \(known: Circle, and svg/<name>\)"):
        registry.build("x")


def test_a_name_is_registered_once(shapes: Registry[Built]) -> None:
    with pytest.raises(ValueError, match="'Disc' is registered twice"):
        shapes.register("Ring", "Disc")(lambda: Built({}))
    assert "Disc" in shapes
    assert [entry.name for entry in shapes] == ["Circle", "Polygon"]
    assert shapes.names() == ["Circle", "Disc", "Polygon"]


def test_types_that_json_cannot_say(shapes: Registry[Built]) -> None:
    @shapes.register("Drawn")
    def drawn(by: Callable[[], int] | None = None, place: Place | None = None) -> Built:
        return Built({"by": by, "place": place})

    place = Place("x")
    assert shapes.build(Component("Drawn", {"place": place})).arguments["place"] == place


def test_places_are_those_of_the_file() -> None:
    inner = Section({"margin": 1}, Place("Loss.Train[0].Triplet", "my.yaml", 41))
    listed = SectionList(
        [Section({"Triplet": inner}, Place("Loss.Train[0]", "my.yaml", 40))], Place("Loss.Train", "my.yaml")
    )
    component = Component.of(listed[0])
    assert component.name == "Triplet"
    assert str(component.place) == "my.yaml:40: Loss.Train[0].Triplet"
    assert str(component.place_of("margin")) == "my.yaml:41: Loss.Train[0].Triplet.margin"
    assert str(listed.place_of(2)) == "my.yaml: Loss.Train[2]"
    assert str(Place()) == ""
    assert str(Place().error("nothing is known")) == "nothing is known"
    assert str(Place().on_line_of(component.place)) == "my.yaml:40"
    assert str(Place("a").at("b").at(3)) == "a.b[3]"
    assert str(Place("a").error("is wrong")) == "a: is wrong"


def test_near_names() -> None:
    assert did_you_mean("margn", ["margin", "weight"]) == ", did you mean 'margin'?"
    assert did_you_mean("zzz", ["margin", "weight"]) == ""
    assert "pip install 'lookalike[parquet]'" in str(missing_extra("pyarrow", "parquet", "writing Parquet"))
