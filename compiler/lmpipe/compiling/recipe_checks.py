"""Check the parts of a recipe where they are given, before anything is read or paid for."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lmpipe.errors import RecipeError
from lmpipe.foundation.shorten import short_repr
from lmpipe.modules.declared import declared_program
from lmpipe.modules.module import Module
from lmpipe.optimize.engine.budget import Budget
from lmpipe.optimize.engine.objectives import Objectives
from lmpipe.optimize.engine.optimizer import check_optimizer
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.serving.spec import ServerSpec

if TYPE_CHECKING:
    from lmpipe.compiling.recipe import Recipe


def check_parts(recipe: Recipe) -> None:
    """Check that the settings of a recipe are of the kinds that it declares.

    Raises:
        RecipeError: if one is not; the message shows what to write.
    """
    if not isinstance(recipe.budget, Budget):
        raise _wrong("budget", recipe.budget, "lmpipe.Budget(…), such as Budget(calls=2000)")
    if not isinstance(recipe.racing, Racing | None):
        raise _wrong("racing", recipe.racing, "lmpipe.Racing(…) or None")
    Objectives.of(recipe.objectives)  # checks them
    check_optimizer("Recipe", "optimizer", recipe.optimizer, named=True)
    name: Any = recipe.name
    if not isinstance(name, str):
        raise _wrong("name", name, "text")
    servers = recipe.servers
    if not isinstance(servers, list | tuple) or not all(isinstance(s, ServerSpec) for s in servers):
        raise _wrong("servers", servers, "a list of lmpipe.ServerSpec(…)")


def _wrong(name: str, value: object, needed: str) -> RecipeError:
    return RecipeError(f"Recipe({name}={short_repr(value)}): {name} must be {needed}")


def check_returns(program: Module) -> None:
    """Check that a program returns a result.

    Raises:
        RecipeError: if the code of its `forward` returns nothing.
    """
    forward = getattr(type(declared_program(program)), "forward", None)
    if forward is not None and _returns_nothing(forward):
        raise RecipeError(
            f"{forward.__qualname__} returns nothing, so the metric would score None: end it with "
            "return …"
        )


def _returns_nothing(function: Callable[..., Any]) -> bool:
    """Whether a function has no `return` with a value; False if its source is not known."""
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return False
    if not isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    own = list(_own_statements(definition))
    returns = any(isinstance(node, ast.Return) and node.value is not None for node in own)
    return not returns and not isinstance(definition.body[-1], ast.Raise)


def _own_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the code of a function without that of functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
        ):
            yield child
            yield from _own_statements(child)
