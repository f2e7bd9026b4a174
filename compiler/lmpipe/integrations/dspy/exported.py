"""DSPy's prompts for `lmpipe export`: those that its chat adapter writes for texts."""

from __future__ import annotations

from typing import Any

import dspy

from lmpipe.errors import ExportError
from lmpipe.integrations.dspy.adapters import configured_adapter, pieces_of_turn
from lmpipe.integrations.dspy.learned import LearnedPredictor
from lmpipe.integrations.export.document import FORMAT, defaults_of, request_fields, turns_of
from lmpipe.integrations.export.fields import field_document
from lmpipe.integrations.export.regex import INDENT, NEVER, SPACE, literal
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.signatures.signature_spec import SignatureSpec

_NO_RULE = {"pattern": NEVER, "first": False, "rest": False}
_END = r"(?![\s\S])"
_HEADER = r"\[\[ ## \w+ ## \]\]"
# DSPy takes them for ends of lines.
_LINE_ENDS = r"(?![\s\S]*[\r\v\f\x1c-\x1e\x85\u2028\u2029])"
# DSPy reads numbers and truths as Python and JSON write them.
_NUMBERS = {"integer": "-?(?:0|[1-9][0-9]*)", "number": r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"}
_TRUTHS = {"=True": True, "=False": False, "=true": True, "=false": False}


def dspy_document(
    path: str, learned: LearnedPredictor, lm: LM, messages: tuple[Message, ...]
) -> dict[str, Any]:
    """Write the prompt of a predictor of a DSPy program; see `prompt_document`.

    Args:
        path: of the predictor.
        learned: the predictor with its state.
        lm: that would answer it.
        messages: of any call.

    Raises:
        ExportError: if it asks by more than texts, or its demonstrations are chosen for each call.
    """
    spec, types = learned.spec, dict[str, Any]()
    slots = _slots(learned.signature)
    if not slots or learned.state.retrieval is not None:
        raise ExportError(
            f"{path}: only prompts of DSPy's ChatAdapter are exported whose inputs are texts, and "
            "whose demonstrations are the same for each call"
        )
    template = {"between": "", "close": "", "json": False, "trim": False, "rule": _NO_RULE}
    outputs = {
        field.name: _output(field_document(field, types, output=True)) for field in spec.outputs
    }
    return {
        "format": FORMAT,
        "name": path,
        "signature": spec.name,
        "layout": "dspy-chat",
        "adapter": learned.state.adapter.to_json() if learned.state.adapter else None,
        "schema": spec.output_schema,
        "constraint": None,
        "request": request_fields(lm),
        "messages": turns_of(lm, messages[:-1]),
        "question": {**template, "open": "", "slots": slots},
        "reminder": "",
        "remind": False,
        "inputs": {field.name: field_document(field, types) for field in spec.inputs},
        "outputs": outputs,
        "defaults": {"inputs": {}, "outputs": defaults_of(spec.outputs)},
        "types": types,
        "histories": [],
        "steps": {"input": "", "native": False},
        "answer": {**template, "open": "", "slots": [], "tool": ""},
        "reply": {
            "names": list(spec.output_names),
            "pattern": _reply_pattern(spec),
            "rule": _NO_RULE,
            "thoughts": [],
        },
        "extraction": None,
        "pool": None,
        "extras": any(field["deep"] for field in outputs.values()),
    }


def _slots(signature: Any) -> list[dict[str, str]]:
    """The slots of the question, with the text around each; none if it needs more than texts."""
    adapter = configured_adapter()
    fields = signature.input_fields
    texts = all(field.annotation is str for field in fields.values())
    if not (isinstance(adapter, dspy.ChatAdapter) and texts and fields):
        return []
    pieces = pieces_of_turn(adapter, signature)
    if pieces is None:
        return []
    *befores, after = pieces
    slots = [
        {"name": name, "before": before, "after": ""}
        for name, before in zip(fields, befores, strict=True)
    ]
    slots[-1]["after"] = after
    return slots


def _output(field: dict[str, Any]) -> dict[str, Any]:
    """A field as DSPy reads it, which takes fewer words for a value."""
    exact = {word: value for word, value in field["words"].items() if word.startswith("=")}
    number = _NUMBERS.get(field["kinds"][0], "") if field["number"] else ""
    words = _TRUTHS if field["kinds"] == ["boolean"] else exact
    match = "" if field["match"].startswith("^(?!") else field["match"]
    return {**field, "words": words, "number": number, "nones": [], "match": match}


def _reply_pattern(spec: SignatureSpec) -> str:
    """Replies with the header of each output on a line, in their order.

    A header that is indented, or stands beside another one, is refused: DSPy reads what follows in
    ways of its own. So is a value beside its header that has blanks at the end of that line.
    """
    line = rf"(?!{INDENT}*{_HEADER})[^\n]*"
    odd = rf"{INDENT}*(?:{_HEADER}|(?!{SPACE})[^\n]*{INDENT}\n{SPACE}*(?!{SPACE}|\[\[ ## |{_END}))"
    blank_lines = rf"{INDENT}*(?:\n{INDENT}*(?=\n|{_END}))*"
    start = rf"(?:\n(?!{INDENT}+{_HEADER}){INDENT}*)?(?!{INDENT})"
    value = rf"((?:(?!{_HEADER})[^\n]+(?:\n{line})*(?:\n|{_END}))?)"
    blocks = "".join(
        rf"\[\[ ## {literal(name)} ## \]\](?!{odd}){blank_lines}{start}{value}"
        for name in spec.output_names
    )
    return rf"^{_LINE_ENDS}(?:{line}\n)*{blocks}(?:{_END}|(?=\[\[ ## completed ## \]\]))"
