"""The constraint on a step that is written as text: each tool with arguments of its own types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import pydantic
from pydantic.fields import FieldInfo

from lmpipe.foundation.exact_json import load_json
from lmpipe.layouts import Layout
from lmpipe.layouts.parse_values import json_text
from lmpipe.lm.message import Constraint
from lmpipe.lm.parts import ToolSpec
from lmpipe.modules.agents.act_signature import ARGUMENTS, THOUGHT, TOOL
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

# Engines keep a state for each way to go on, and unroll what they know.
_MOST_TOOLS = 24
_DEFINED = "#/$defs/"
# A quoted text, a set of characters, the name of a rule, or anything else.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[A-Za-z][A-Za-z0-9-]*|[^\s"\[A-Za-z]+')

# If a thought may span lines, small LMs write the next marker a little wrong after it: as a line of
# the thought, which then goes on until the limit of tokens.
_LINE = Annotated[str, pydantic.StringConstraints(pattern=r"^[^\s\[<][^\n<]*$")]

_Rules = dict[str, list[str]]  # the tokens of each rule's body


def step_constraint(
    layout: Layout, form: SignatureSpec, tools: Sequence[ToolSpec]
) -> Constraint | None:
    """Describe the replies that can be read: the arguments are those of the tool before them.

    A JSON schema cannot say which arguments belong to which tool in a form that all servers take;
    it admits those of any tool.
    """
    whole = layout.constraint(form)
    if whole is None:
        return None
    if whole.kind == "grammar":
        form = _with_types(form, {THOUGHT: _LINE})
    if len(tools) > _MOST_TOOLS:
        return layout.constraint(form)
    each = [layout.constraint(_form_for(form, tool)) for tool in tools]
    texts = [constraint.value for constraint in each if constraint is not None]
    if whole.kind == "grammar":
        return Constraint("grammar", union_of_grammars(texts))
    schema = load_json(whole.value)
    schema.pop("$defs", None)
    arguments = [load_json(text)["properties"][ARGUMENTS] for text in texts]
    schema["properties"][ARGUMENTS] = arguments[0] if len(tools) == 1 else {"anyOf": arguments}
    return Constraint("json_schema", json_text(schema))


def _form_for(form: SignatureSpec, tool: ToolSpec) -> SignatureSpec:
    """The signature of a step that calls this tool."""
    schema = without_references(load_json(tool.parameters))
    arguments = Annotated[dict[str, Any], pydantic.WithJsonSchema(schema)]
    return _with_types(form, {TOOL: Literal[(tool.name,)], ARGUMENTS: arguments})


def _with_types(form: SignatureSpec, types: Mapping[str, Any]) -> SignatureSpec:
    """The signature with other types of some outputs."""
    outputs = [
        FieldSpec(field.name, types[field.name], field.desc, FieldInfo())
        if field.name in types
        else field
        for field in form.outputs
    ]
    return replace(form, outputs=tuple(outputs))


def without_references(schema: Any) -> Any:
    """Put the definitions of a JSON schema where it refers to them.

    A definition that refers to itself becomes any value.
    """
    definitions = schema.get("$defs", {})

    def inline(value: Any, inside: tuple[str, ...]) -> Any:
        if isinstance(value, list):
            return [inline(item, inside) for item in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(_DEFINED):
            name = reference.removeprefix(_DEFINED)
            if name in inside or name not in definitions:
                return {}
            return inline(definitions[name], (*inside, name))
        return {key: inline(item, inside) for key, item in value.items() if key != "$defs"}

    return inline(schema, ())


def union_of_grammars(grammars: Sequence[str]) -> str:
    """Write the grammar of all texts that one of some grammars describes.

    Rules that are the same in all of them are written once, and so is the beginning of their roots.
    """
    parsed = [_parse(text) for text in grammars]
    own = _own_rules(parsed)
    first = parsed[0]
    shared = {name: body for name, body in first.items() if name not in own}
    rules: _Rules = {"root": []}
    roots = []
    for number, grammar in enumerate(parsed):
        renamed = {name: f"t{number}-{name}" for name in own}
        for name, body in grammar.items():
            if name in own and name != "root":
                rules[renamed[name]] = [renamed.get(token, token) for token in body]
        roots.append([renamed.get(token, token) for token in grammar["root"]])
    common = _common_start(roots)
    options: list[str] = []
    for root in roots:
        options += ["|"] * bool(options) + root[common:]
    rules["root"] = [*roots[0][:common], "(", *options, ")"] if len(roots) > 1 else roots[0]
    rules |= {name: body for name, body in shared.items() if name != "root"}
    return "".join(f"{name} ::= {_body(tokens)}\n" for name, tokens in rules.items())


def _body(tokens: Iterable[str]) -> str:
    """Write the body of a rule; marks of repetition follow without a space."""
    return "".join(token if token[0] in "?*+{" else f" {token}" for token in tokens).lstrip()


def _parse(grammar: str) -> _Rules:
    rules: _Rules = {}
    for line in grammar.splitlines():
        name, _, body = line.partition(" ::= ")
        rules[name] = _TOKEN.findall(body)
    return rules


def _own_rules(grammars: Sequence[_Rules]) -> set[str]:
    """The rules that differ between the grammars, and those that use such rules."""
    names = dict.fromkeys(name for grammar in grammars for name in grammar)
    first = grammars[0]
    own = {
        name for name in names if any(grammar.get(name) != first.get(name) for grammar in grammars)
    }
    while more := {name for name in names if name not in own and not own.isdisjoint(first[name])}:
        own |= more
    return own


def _common_start(bodies: Iterable[Sequence[str]]) -> int:
    """How many tokens all of some bodies begin with."""
    count = 0
    for tokens in zip(*bodies, strict=False):
        if len(set(tokens)) > 1:
            return count
        count += 1
    return max(count - 1, 0)
