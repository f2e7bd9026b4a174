"""The reference has every public name, and its docstrings say what they must."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
import textwrap
from typing import Any

import pydantic
import pytest
from helpers.pages import ROOT

import lmpipe

sys.path.insert(0, str(ROOT / "docs"))
from assemble.reference import SUBJECTS, names_of, reference_pages

NAMES = [name for subject in SUBJECTS.values() for name in names_of(subject)]


def value_of(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


CALLABLES = [
    name
    for name in NAMES
    if inspect.isfunction(value_of(name))
    or (inspect.isclass(value_of(name)) and value_of(name).__module__.startswith("lmpipe"))
]


def test_every_public_name_is_on_a_page() -> None:
    modules = {"errors", "metrics"}  # pages of their own
    shown = {name.rpartition(".")[2] for name in NAMES}
    assert set(lmpipe.__all__) - modules - shown == set()


@pytest.mark.parametrize("module", ["lmpipe.metrics", "lmpipe.testing", "lmpipe.integrations.dspy"])
def test_every_name_of_a_public_module_is_on_a_page(module: str) -> None:
    shown = {name.rpartition(".")[2] for name in NAMES}
    assert set(importlib.import_module(module).__all__) - shown == set()


def test_every_name_comes_from_lmpipe() -> None:
    classes = [value_of(name) for name in NAMES if inspect.isclass(value_of(name))]
    assert {value.__module__.partition(".")[0] for value in classes} == {"lmpipe"}


def test_no_name_is_on_two_pages() -> None:
    assert sorted(NAMES) == sorted(set(NAMES))


def test_each_page_has_its_names() -> None:
    pages = reference_pages()
    for key, subject in SUBJECTS.items():
        found = re.findall(r"^::: (\S+)$", pages[f"reference/{key}.md"], re.M)
        assert found == list(names_of(subject))


@pytest.mark.parametrize("name", CALLABLES)
def test_a_public_name_has_a_docstring(name: str) -> None:
    assert (value_of(name).__doc__ or "").strip()


def sections(doc: str) -> dict[str, str]:
    """Split a docstring of Google style into its sections."""
    parts = re.split(
        r"^(Args|Raises|Returns|Attributes|Yields):\n", inspect.cleandoc(doc), flags=re.M
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(section: str) -> set[str]:
    """Return what a section says something of: `name: …`, or `first, second: …`."""
    heads = re.findall(r"^ {4}(\*{0,2}\w[\w.]*(?:, \*{0,2}\w+)*)(?: \([^)]*\))?:", section, re.M)
    return {part.strip("* ") for head in heads for part in head.split(",")}


def _constructor_of(value: Any) -> Any:
    """Return a function, or the constructor that a class declares itself."""
    if not inspect.isclass(value) or dataclasses.is_dataclass(value):
        return value
    return vars(value).get("__init__")


def parameters_of(value: Any) -> list[str]:
    """Return the parameters that a docstring must explain.

    Those of a protocol are never passed, and the `name` of an optimizer is the same for all.
    """
    if inspect.isclass(value) and issubclass(value, pydantic.BaseModel):
        return list(value.model_fields) if value.__init__ is pydantic.BaseModel.__init__ else []
    if getattr(value, "_is_protocol", False) or _constructor_of(value) is None:
        return []
    unexplained = {"self", "name"} if hasattr(value, "optimize") else {"self"}
    return [name for name in inspect.signature(value).parameters if name not in unexplained]


def explained_elsewhere(doc: str) -> bool:
    """Whether a docstring names the function or class that explains the arguments."""
    return bool(re.search(r"(see|made by|(?:make|create) one with|those\s+of) `", doc))


@pytest.mark.parametrize("name", CALLABLES)
def test_a_docstring_explains_the_arguments(name: str) -> None:
    value = value_of(name)
    doc = value.__doc__ or ""
    said = documented(sections(doc).get("Args", ""))
    parameters = parameters_of(value)
    # The one argument of a function is what its first sentence is about.
    if (said or len(parameters) > 1) and not explained_elsewhere(doc):
        assert [given for given in parameters if given not in said] == []


def raised_by(value: Any) -> set[str]:
    """Return the errors that a function, or the constructor of a class, raises itself."""
    declared = vars(value).get("__post_init__") or vars(value).get("__init__")
    function = declared if inspect.isclass(value) else value
    if getattr(function, "__code__", None) and function.__code__.co_filename == "<string>":
        return set()  # that of a dataclass
    if not inspect.isfunction(function) or getattr(value, "_is_protocol", False):
        return set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    names = [ast.unparse(item.func) for item in raised if isinstance(item, ast.Call)]
    return {name for name in names if name.endswith("Error")}


@pytest.mark.parametrize("name", CALLABLES)
def test_a_docstring_names_the_errors(name: str) -> None:
    value = value_of(name)
    said = documented(sections(value.__doc__ or "").get("Raises", ""))
    assert raised_by(value) - said == set()
