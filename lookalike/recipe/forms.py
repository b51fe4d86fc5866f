"""Which form a part of a recipe has: the way through the models of the schema, beside the recipe itself."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Annotated, Any

from pydantic import BaseModel


def form_of(annotation: Any, value: Any) -> Any:
    """The form of a value of this type: a model, a list or dict of something; None where it is a plain value.

    Where the type leaves a choice of models that say what they fit (`fits`), the value decides.
    """
    if typing.get_origin(annotation) is Annotated:
        return form_of(typing.get_args(annotation)[0], value)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        fits = getattr(annotation, "fits", None)
        return annotation if fits is None or value is None or fits(value) else None
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        choices = (form_of(choice, value) for choice in typing.get_args(annotation))
        return next((form for form in choices if form is not None), None)
    return annotation if typing.get_origin(annotation) in (list, dict) else None


def below(form: Any, step: str | int) -> Any:
    """The type of what stands under a key or index of a form, None where there is no such thing."""
    if isinstance(form, type) and issubclass(form, BaseModel):
        for name, field in form.model_fields.items():
            if (field.alias or name) == step:
                return field.annotation
        return None
    arguments = typing.get_args(form)
    if typing.get_origin(form) is list and isinstance(step, int):
        return arguments[0]
    return arguments[1] if typing.get_origin(form) is dict and isinstance(step, str) else None


def aliases(model: type[BaseModel]) -> list[str]:
    """The keys that a section of this form takes."""
    return [field.alias or name for name, field in model.model_fields.items()]
