"""Run a file and find its programs and examples, whatever the framework."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from lmpipe.errors import InputError

NAME = "migrated_program"  # so that code under `if __name__ == "__main__":` does not run


@dataclass(frozen=True)
class Framework:
    """What the search needs to know of a framework.

    Args:
        program: the class of programs.
        example: the class of examples.
        inputs_of: returns the inputs of an example.
    """

    program: type
    example: type
    inputs_of: Callable[[Any], Mapping[str, Any]]


def run_file(path: Path) -> dict[str, Any]:
    """Run a file as a module, and return its names.

    This executes the code of the file, with the user's rights. It is the file that the user named
    to `lmpipe migrate`, whose help says that it runs the file, or the migration of that file.
    """
    sys.path.insert(0, str(path.parent))
    module = types.ModuleType(NAME)
    module.__file__ = str(path)
    sys.modules[NAME] = module  # it stays, because signatures look their types up in it
    code = compile(path.read_bytes(), str(path), "exec")
    exec(code, module.__dict__)  # noqa: S102 - the user's own file, which they asked to run
    return module.__dict__


def programs_in(names: Mapping[str, Any], framework: Framework) -> dict[str, Callable[[], Any]]:
    """Find the programs of a file: those with a name, and one of each other class of programs.

    Returns:
        What gives each of them.
    """
    named = {name: value for name, value in names.items() if isinstance(value, framework.program)}
    found: dict[str, Callable[[], Any]] = {name: partial(named.__getitem__, name) for name in named}
    made = {type(program) for program in named.values()}
    for name, value in names.items():
        is_own = isinstance(value, type) and value.__module__ == NAME
        if not is_own or not issubclass(value, framework.program) or value in made:
            continue
        if not parameters_of(value.__init__):
            found[f"{name}()"] = value
    return found


def fitting_inputs(
    declared: Mapping[str, Any], names: Mapping[str, Any], framework: Framework
) -> dict[str, Any] | None:
    """Return the inputs of the first example of a file that are those which are declared."""
    for example in _examples(names.values(), framework):
        try:
            inputs = dict(framework.inputs_of(example))
        except (ValueError, TypeError, InputError):  # it does not say what its inputs are
            continue
        if inputs and inputs.keys() == declared.keys():
            return inputs
    return None


def parameters_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters that a method needs; text if none is declared."""
    try:
        hints = get_type_hints(function)
    except NameError:  # a type that is imported for type checkers only
        hints = {}
    _, *parameters = inspect.signature(function).parameters.values()
    return {
        parameter.name: hints.get(parameter.name, str)
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def _examples(values: Any, framework: Framework, depth: int = 0) -> Iterator[Any]:
    for value in list(values):
        if isinstance(value, framework.example):
            yield value
        elif isinstance(value, list | tuple) and depth < 2:
            yield from _examples(value, framework, depth + 1)
        elif isinstance(value, dict) and depth < 2 and value is not values:
            yield from _examples(value.values(), framework, depth + 1)
