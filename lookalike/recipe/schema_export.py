"""The JSON schema of recipes, for editors: their form, and the arguments of every registered component."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from lookalike.core.registry import Entry, Registry
from lookalike.recipe.global_keys import OTHER_NAMES, WITHOUT_MEANING
from lookalike.recipe.schema import COMPONENT, IGNORED_SECTIONS, RecipeForm

KINDS = (
    "backbone",
    "neck",
    "head",
    "loss",
    "metric",
    "dataset",
    "sampler",
    "operation",
    "batch_operation",
    "optimizer",
    "schedule",
    "loader",
    "dataset_option",
)
"""Kinds of components that a recipe names. `operation` are the entries of `transform_ops`, `batch_operation`
those of `batch_transform_ops`; the registry of `loader` holds one component, whose arguments are the keys of
`loader`; the arguments of `dataset_option` may stand beside those of every dataset."""

_OPEN_NAMES = {"backbone": "^timm/", "loss": r"^pml\."}
"""Names that another library defines: their arguments are its own."""

_BESIDE: dict[str, dict[str, Any]] = {
    "backbone": {
        "pretrained": {
            "type": ["boolean", "string", "null"],
            "description": "Weights: true, a path or a URL",
        },
        "use_ssld": {"type": "boolean", "description": "Take the weights trained by distillation"},
        "use_ssld_stage1_pretrained": {"type": "boolean"},
        "use_imagenet22k_pretrained": {"type": "boolean"},
        "use_imagenet22kto1k_pretrained": {"type": "boolean"},
        "return_patterns": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}],
            "description": "Layers whose outputs the model gives as well: names, or regular expressions",
        },
        "return_stages": {
            "anyOf": [
                {"type": ["boolean", "integer", "null"]},
                {"type": "array", "items": {"type": "integer"}},
            ],
            "description": "Stages whose outputs the model gives as well: all, or these, counted from 0",
        },
        "freeze_before": {
            "type": ["string", "null"],
            "description": "The layer that no gradient passes: what leads to it does not learn",
        },
        "freeze_befor": {"type": ["string", "null"], "description": "Another name of `freeze_before`"},
    },
    "dataset": {
        "transform_ops": {
            "type": ["array", "null"],
            "items": {"$ref": "#/$defs/operation_entry"},
            "description": "What happens to an image, in order",
        },
        "transform": {
            "type": ["array", "null"],
            "items": {"$ref": "#/$defs/operation_entry"},
            "description": "What AdaFaceDataset calls transform_ops",
        },
        "batch_transform_ops": {
            "type": ["array", "null"],
            "items": {"$ref": "#/$defs/batch_operation_entry"},
            "description": "How the images of a training batch are mixed, and their labels with them",
        },
        **{
            key: {
                "type": ["array", "null"],
                "items": {"$ref": "#/$defs/operation_entry"},
                "description": f"The {view} view of an unlabelled image, in place of transform_ops",
            }
            for key, view in (
                ("transform_ops_weak", "weak"),
                ("transform_ops_strong", "strong"),
                ("transform_ops_strong2", "second strong"),
            )
        },
    },
    "loss": {"weight": {"type": "number", "description": "Factor in the sum of losses"}},
    "optimizer": {
        "lr": {"anyOf": [{"$ref": "#/$defs/schedule"}, {"type": "number"}]},
        "scope": {"type": "string", "description": "Which parameters it moves, where there are several"},
    },
}
"""Arguments that the builder of a kind takes beside those of the component."""


def json_schema(registries: Mapping[str, Registry[Any] | Iterable[Registry[Any]]]) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a recipe.

    `registries` gives for each of `KINDS` the registry that holds its components, or several of them. A
    kind that is left out takes any component. Wherever a number may stand, a text such as `1.0/255.0` may
    as well.
    """
    unknown = set(registries) - set(KINDS)
    if unknown:
        raise ValueError(f"no recipe names a {sorted(unknown)}; kinds are {KINDS}")
    schema = RecipeForm.model_json_schema(by_alias=True)
    definitions = schema.setdefault("$defs", {})
    for kind in KINDS:
        given = registries.get(kind)
        chosen = None if given is None else [given] if isinstance(given, Registry) else list(given)
        arguments = _arguments(kind, chosen, definitions) if chosen is not None else None
        if kind in ("loader", "dataset_option"):
            definitions[kind] = next(iter((arguments or {("",): {"type": "object"}}).values()))
            continue
        definitions[kind] = _named(arguments, kind)
        definitions[f"{kind}_entry"] = _keyed(arguments, kind)
    for choice in definitions["dataset"]["anyOf"]:
        if "properties" in choice:
            choice["properties"].update(definitions["dataset_option"].get("properties", {}))
    del definitions["dataset_option"]
    _add_other_keys(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe of Lookalike",
        **_finished(schema),
    }


def _add_other_keys(schema: dict[str, Any]) -> None:
    settings = schema["$defs"]["Global"]["properties"]
    for other, name in OTHER_NAMES.items():
        settings[other] = {**settings[name], "description": f"Another name of `{name}`"}
    for name, reason in WITHOUT_MEANING.items():
        settings[name] = {"deprecated": True, "description": f"Has no effect: {reason}"}
    for name, reason in IGNORED_SECTIONS.items():
        schema["properties"][name] = {"deprecated": True, "description": f"Has no effect: {reason}"}
    # a key without a value (`AMP:`) is as if it were not there
    schema["properties"]["Global"] = {"anyOf": [{"$ref": "#/$defs/Global"}, {"type": "null"}]}


def _arguments(
    kind: str, registries: list[Registry[Any]], definitions: dict[str, Any]
) -> dict[tuple[str, ...], dict[str, Any]]:
    """Schema of the arguments of each component, by its names."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for registry in registries:
        for entry in registry:
            # a name that several registries have is the first one's
            taken = {name for names in found for name in names}
            if names := tuple(name for name in (entry.name, *entry.aliases) if name not in taken):
                found[names] = _of_entry(kind, entry, definitions)
        if registry.elsewhere:
            found[tuple(sorted(registry.elsewhere))] = {"type": "object", "properties": _BESIDE.get(kind, {})}
    return found


def _of_entry(kind: str, entry: Entry[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    open_ended = False
    for name, parameter in entry.parameters().items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            open_ended |= parameter.kind is parameter.VAR_KEYWORD
            continue
        properties[name] = _of_annotation(parameter.annotation, definitions)
        if _is_plain(parameter.default):
            properties[name] = {**properties[name], "default": parameter.default}
    for name, swallowed in entry.swallows.items():
        properties.setdefault(name, {"deprecated": True, "description": f"Has no effect: {swallowed.reason}"})
    for name, described in _BESIDE.get(kind, {}).items():
        properties.setdefault(name, described)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": open_ended,
    }
    if summary := (inspect.getdoc(entry.build) or "").partition("\n")[0]:
        schema["description"] = summary
    return schema


def _of_annotation(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """JSON schema of a type; `{}`, anything, for a type that JSON has no word for (a tensor, a model)."""
    if annotation is Any or annotation is inspect.Parameter.empty:
        return {}
    try:
        adapter = TypeAdapter[Any](annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a model or dataclass brings its own configuration and refuses a second one
        adapter = TypeAdapter[Any](annotation)
    except PydanticSchemaGenerationError:
        return {}
    try:
        schema = adapter.json_schema(ref_template="#/$defs/{model}")
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return {}
    definitions.update(schema.pop("$defs", {}))
    return schema


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _named(arguments: dict[tuple[str, ...], dict[str, Any]] | None, kind: str) -> dict[str, Any]:
    """`{name: Name, argument: value}`, or the name alone."""
    if arguments is None:
        return {
            "anyOf": [
                {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
                {"type": "string"},
            ]
        }
    choices = []
    for names, schema in arguments.items():
        name = {"const": names[0]} if len(names) == 1 else {"enum": list(names)}
        choices.append(
            {**schema, "properties": {"name": name, **_without_name(schema)}, "required": ["name"]}
        )
    if kind in _OPEN_NAMES:
        name = {"type": "string", "pattern": _OPEN_NAMES[kind]}
        choices.append({"type": "object", "properties": {"name": name}, "required": ["name"]})
    choices.append({"enum": [name for names in arguments for name in names]})
    return {"anyOf": choices}


def _without_name(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema["properties"].items() if key != "name"}


def _keyed(arguments: dict[tuple[str, ...], dict[str, Any]] | None, kind: str) -> dict[str, Any]:
    """`Name: {argument: value}`, the entries of lists."""
    one = {"type": "object", "minProperties": 1, "maxProperties": 1}
    if arguments is None:
        keyed: dict[str, Any] = {**one, "additionalProperties": {"type": ["object", "null"]}}
    else:
        keyed = {
            **one,
            "properties": {
                # what says nothing of further arguments is another library's, under hundreds of names
                name: {"anyOf": [schema, {"type": "null"}]}
                if "additionalProperties" in schema
                else {"type": ["object", "null"]}
                for names, schema in arguments.items()
                for name in names
            },
            "additionalProperties": False,
        }
        if kind in _OPEN_NAMES:
            keyed["patternProperties"] = {_OPEN_NAMES[kind]: {"type": ["object", "null"]}}
    return {"anyOf": [keyed, {"$ref": f"#/$defs/{kind}"}]}


def _finished(schema: Any) -> Any:
    """The schema with references to the components, and with every number also allowed as an expression."""
    if isinstance(schema, list):
        return [_finished(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if COMPONENT in schema:
        rest = {key: value for key, value in schema.items() if key != COMPONENT}
        return {"$ref": f"#/$defs/{schema[COMPONENT]}", **rest}
    # which of several forms is meant the name decides, so a value may fit another one, too
    changed = {
        "anyOf" if key == "oneOf" else key: _finished(value)
        for key, value in schema.items()
        if key != "discriminator"
    }
    if changed.get("type") == "number":
        about = {key: changed.pop(key) for key in ("default", "description") if key in changed}
        return {"anyOf": [changed, {"type": "string", "pattern": r"^[-+*/(). 0-9eE]+$"}], **about}
    return changed
