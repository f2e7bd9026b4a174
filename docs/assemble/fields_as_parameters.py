"""An extension of griffe: the fields of a model are the parameters of its constructor."""

from __future__ import annotations

import ast
from typing import Any

import griffe


class FieldsAsParameters(griffe.Extension):
    """Give classes such as pydantic's models the constructor that their fields make.

    griffe does so for dataclasses. Without it, the reference would have no types for what the
    docstring of a model says of its arguments.
    """

    def on_class_members(
        self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, **kwargs: Any
    ) -> None:
        """Add a constructor to a class that documents arguments, but declares no constructor."""
        documented = cls.docstring is not None and "Args:" in cls.docstring.value
        if not documented or "__init__" in cls.members or cls.decorators:
            return
        fields = [
            member
            for member in cls.members.values()
            if isinstance(member, griffe.Attribute)
            and member.annotation is not None
            and not member.name.startswith("_")
            and "ClassVar" not in str(member.annotation)
        ]
        constructor = griffe.Function(
            "__init__",
            parameters=griffe.Parameters(
                griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword),
                *(
                    griffe.Parameter(
                        field.name,
                        annotation=field.annotation,
                        default=_default(field.value),
                        kind=griffe.ParameterKind.keyword_only,
                    )
                    for field in fields
                ),
            ),
        )
        cls.set_member("__init__", constructor)


def _default(value: str | griffe.Expr | None) -> str | griffe.Expr | None:
    """Return the default of a field: that of `Field(default=…)`, not the call of it."""
    if not isinstance(value, griffe.ExprCall) or not str(value.function).endswith("Field"):
        return value
    for argument in value.arguments:
        if not isinstance(argument, griffe.ExprKeyword):
            return argument
        if argument.name == "default":
            return argument.value
        if argument.name == "default_factory":
            return f"{argument.value}()"
    return None
