"""Problems of a recipe's data, metric and tools, in view of its program."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmpipe.compiling.gold_prediction import GoldPredictor
from lmpipe.compiling.program_check.problem import Problem
from lmpipe.compiling.recipe import Recipe
from lmpipe.data.example import Example
from lmpipe.data.source import load_examples
from lmpipe.errors import DataError
from lmpipe.evaluation.evaluate import check_inputs
from lmpipe.foundation.plural import plural
from lmpipe.metrics import CombinedMetric, FieldMetric, metric_name
from lmpipe.modules.binding import Node
from lmpipe.modules.module import Module
from lmpipe.modules.uses import parse_function
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.signatures.signature import spec_of

Splits = Mapping[str, Sequence[Example]]

# Rows beyond these are like them, or are found by `Recipe` when they are read.
_ROWS = 1000


def read_splits(recipe: Recipe) -> tuple[dict[str, list[Example]], list[Problem]]:
    """Read the examples of a recipe, and note the splits that cannot be read."""
    splits, problems = {}, []
    for name in ("train", "val", "test"):
        data = getattr(recipe, name)
        if data is None:
            continue
        try:
            splits[name] = load_examples(name, data)
        except DataError as error:
            problems.append(Problem("data", name, str(error).removeprefix(f"{name}: ")))
    return splits, problems


def data_problems(program: Module, splits: Splits) -> list[Problem]:
    """Find rows that do not have the inputs that the program takes."""
    problems = []
    for split, rows in splits.items():
        failed = [
            (number, error)
            for number, row in enumerate(rows[:_ROWS], start=1)
            if (error := _input_error(program, row)) is not None
        ]
        if failed:
            number, error = failed[0]
            some = "the only row" if len(rows) == 1 else f"{len(failed)} of {len(rows)} rows"
            has = ", ".join(rows[number - 1].inputs)
            message = f"{some} lack what the program takes; row {number}: {error} (it has {has})"
            problems.append(Problem("data", split, message))
    return problems


def _input_error(program: Module, row: Example) -> str | None:
    try:
        check_inputs(program, row)
    except DataError as error:
        first = str(error).partition("\n")[0]
        return first.removeprefix("the examples do not match the program: ")
    return None


def metric_problems(metric: Any, program: Module, splits: Splits) -> list[Problem]:
    """Find fields that the metric needs, and neither the program nor the examples have."""
    name = metric_name(metric)
    gold = GoldPredictor.of(program)
    returned: list[str] | None = None
    if gold is not None and gold.declared and gold.signature is not None:
        spec = spec_of(gold.signature)
        returned = [*spec.output_names, *spec.input_names]
    problems = []
    rows = [row for split in splits.values() for row in split[:_ROWS]]
    needed, labels = _needs(metric)
    for output in needed:
        if returned is not None and output not in returned and gold and gold.signature:
            outputs = ", ".join(spec_of(gold.signature).output_names)
            problems.append(
                Problem(
                    "metric",
                    name,
                    f"needs the output {output!r}, which the program does not return: it returns "
                    f"{gold.signature.__name__} with {outputs}",
                )
            )
    for label in labels:
        without = sum(label not in row for row in rows)
        if without:
            fields = ", ".join(rows[0]) if rows else "none"
            problems.append(
                Problem(
                    "metric",
                    name,
                    f"needs the field {label!r} of the examples, and {without} of "
                    f"{plural(len(rows), 'example')} lack it: the first has {fields}",
                )
            )
    return problems


def _needs(metric: Any) -> tuple[list[str], list[str]]:
    """The fields of predictions and of examples that a metric reads."""
    if isinstance(metric, CombinedMetric):
        both = [_needs(part) for part in metric.metrics]
        outputs = [name for needed, _ in both for name in needed]
        labels = [name for _, needed in both for name in needed]
        return list(dict.fromkeys(outputs)), list(dict.fromkeys(labels))
    if isinstance(metric, FieldMetric):
        return list(metric.fields), [metric.gold] if metric.gold else list(metric.fields)
    if not inspect.isfunction(metric) or (parsed := parse_function(metric)) is None:
        return [], []
    names = [item.arg for item in parsed.args.args]
    if len(names) < 2:
        return [], []
    example, prediction = names[:2]
    return (
        [name for name in _attributes(parsed, prediction) if not _is_method(name)],
        [name for name in _attributes(parsed, example) if not hasattr(Example, name)],
    )


def _attributes(function: ast.AST, variable: str) -> list[str]:
    """The attributes of a variable that a function reads; none if it is assigned to."""
    names = [n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id == variable]
    if any(not isinstance(node.ctx, ast.Load) for node in names):
        return []
    read = [
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == variable
    ]
    return list(dict.fromkeys(read))


def _is_method(name: str) -> bool:
    from lmpipe.signatures.signature import Signature

    return hasattr(Signature, name) or name.startswith("_")


def tool_problems(program: Module) -> list[Problem]:
    """Find tools that an LM is not told what they do."""
    problems = []
    for tool in dict.fromkeys(_tools(program, set())):
        if not tool.description.strip():
            problems.append(
                Problem(
                    "tool",
                    tool.name,
                    "has no description, which is all that the LM knows of it beside its "
                    "parameters: give its function a docstring",
                )
            )
    return problems


def _tools(value: Any, seen: set[int]) -> Iterator[Tool]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tool):
        yield value
    elif isinstance(value, Node):
        for item in vars(value).values():
            yield from _tools(item, seen)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tools(item, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tools(item, seen)
