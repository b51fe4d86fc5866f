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
from lookalike.core.registry import Registry


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
        ({"Circle": {"radius": 1, "filled": "maybe"}}, "Shapes[0].Circle.filled: must be bool, got 'maybe'"),
        ({"Circle": {"radius": 1, "kind": "c"}}, "Shapes[0].Circle.kind: must be .*'a'.*'b'.*, got 'c'"),
        ({"Polygon": {"corners": 3}}, "Shapes[0].Polygon.corners: must be list"),
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
    assert str(component.place_of("margin")) == "my.yaml:40: Loss.Train[0].Triplet.margin"
    assert str(listed.place_of(2)) == "my.yaml: Loss.Train[2]"
    assert str(Place()) == "value"
    assert str(Place("a").at("b").at(3)) == "a.b[3]"
    assert str(Place("a").error("is wrong")) == "a: is wrong"


def test_near_names() -> None:
    assert did_you_mean("margn", ["margin", "weight"]) == ", did you mean 'margin'?"
    assert did_you_mean("zzz", ["margin", "weight"]) == ""
    assert "pip install 'lookalike[parquet]'" in str(missing_extra("pyarrow", "parquet", "writing Parquet"))
