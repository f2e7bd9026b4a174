"""Prompts as Jinja templates: the messages of a request, with the inputs as variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jinja2

from lmpipe.errors import ExportError
from lmpipe.integrations.export.document import question_text
from lmpipe.integrations.export.parity import Parity, compare_messages
from lmpipe.integrations.export.readers.prompt_reader import Prompt, dump, spell
from lmpipe.integrations.export.recorded_calls import RecordedCall
from lmpipe.integrations.export.regex import NEVER
from lmpipe.layouts.plain_layout import labels_of
from lmpipe.layouts.tags import CDATA

FORMAT = "lmpipe-jinja/1"

_CHANGED = re.compile(r"\{[{%#]|\r")


def jinja_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the document of a prompt into one with Jinja templates.

    Its variables are texts. Values of other types than text are given as they are shown, such as
    `yes` or `5.0`, or as JSON where `variables` says so.

    Args:
        document: as `prompt_document` returns it.

    Raises:
        ExportError: if its messages depend on more than the texts of the inputs.
    """
    _check(document)
    question = document["question"]
    last = _marking(document) + question_text(document, partial(_variable, question), _static)
    earlier = [_static_turn(turn) for turn in document["messages"]]
    return {
        "format": FORMAT,
        "name": document["name"],
        "request": document["request"],
        "messages": [*earlier, {"role": "user", "content": _kept(last)}],
        "variables": {
            name: "json" if question["json"] or field["json"] else "text"
            for name, field in document["inputs"].items()
        },
        "reply": {"layout": document["layout"], "schema": document["schema"]},
    }


def check_templates(
    documents: Mapping[str, Mapping[str, Any]],
    templates: Mapping[str, Mapping[str, Any]],
    calls: Sequence[RecordedCall],
) -> Parity:
    """Render the templates for all calls, and compare the messages with those of the runtime.

    Raises:
        ExportError: if one differs; names the predictor, the example and the first difference.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701 - no HTML
    compiled = {
        path: [_compiled_turn(environment, turn) for turn in document["messages"]]
        for path, document in templates.items()
    }
    for call in calls:
        values = variables_of(documents[call.predictor], call.inputs)
        rendered = [
            {**turn, "content": template.render(values)} if template else turn
            for turn, template in compiled[call.predictor]
        ]
        compare_messages(call, [rendered])
    return Parity(len(calls))


def _compiled_turn(
    environment: jinja2.Environment, turn: Mapping[str, Any]
) -> tuple[Mapping[str, Any], jinja2.Template | None]:
    """A turn and the template of its content, if that is a text."""
    content = turn["content"]
    return turn, environment.from_string(content) if isinstance(content, str) else None


def variables_of(document: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return inputs, given as JSON values, as the texts that the templates take."""
    values = Prompt(document).complete("inputs", inputs)
    in_json = document["question"]["json"]
    fields = document["inputs"]
    return {
        name: dump(value) if in_json else spell(fields[name], value)
        for name, value in values.items()
    }


def _check(document: Mapping[str, Any]) -> None:
    special = {
        "shows earlier turns of a conversation": document["histories"],
        "shows the steps of an agent": document["steps"]["input"],
        "chooses demonstrations for each call": document["pool"],
        "shows images, documents, or lists and objects in DSPy's form": any(
            field["parts"] for field in document["inputs"].values()
        ),
    }
    if found := [what for what, there in special.items() if there]:
        raise ExportError(
            f"{document['name']}: a prompt that {found[0]} cannot be a Jinja template: export it "
            "with --format messages or typescript"
        )


def _variable(question: Mapping[str, Any], name: str) -> str:
    plain = question["json"] or question["rule"]["pattern"] == NEVER
    return "{{ " + (name if plain else f"marked({name})") + " }}"


def _static_turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    content = turn.get("content")
    return {**turn, "content": _kept(_static(content)) if isinstance(content, str) else content}


def _static(text: str) -> str:
    """Write a text so that Jinja, which reads marks and changes line ends, shows it as it is."""
    return _CHANGED.sub(lambda match: "{{ '" + match[0].replace("\r", r"\r") + "' }}", text)


def _kept(template: str) -> str:
    """Keep the newline at the end of a template, which Jinja drops."""
    return template + "{{ '' }}" if template.endswith("\n") else template


def _marking(document: Mapping[str, Any]) -> str:
    """The macro that writes a backslash before each line that looks like a mark of the layout."""
    names = [slot["name"] for slot in document["question"]["slots"]]
    if document["question"]["json"] or not names:
        return ""
    fields = [*names, *(slot["name"] for slot in document["answer"]["slots"])]
    line = r"line.lstrip('\\')"
    bare = rf"{line}.rstrip(' \t\r')"
    match document["layout"]:
        case "chat":
            found = f"{bare} in {_strings(f'[[{name}]]' for name in fields)}"
        case "xml":
            tags = [tag for name in fields for tag in (f"<{name}>", f"</{name}>")]
            found = f"{bare} in {_strings(tags)} or {line}.lstrip().startswith('{CDATA}')"
        case _:
            labels = labels_of(tuple(names)).by_name.values()
            found = f"':' in line and not loop.first and {line}.split(':')[0] in {_strings(labels)}"
    return (
        r"{% macro marked(text) %}{% for line in text.split('\n') %}"
        r"{{ '' if loop.first else '\n' }}{% if " + found + r" %}{{ '\\' }}{% endif %}"
        r"{{ line }}{% endfor %}{% endmacro %}"
    )


def _strings(texts: Any) -> str:
    return "[" + ", ".join(f"'{text}'" for text in texts) + "]"
