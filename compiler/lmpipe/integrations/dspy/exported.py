"""DSPy's prompts for `lmpipe export`: those that its chat and JSON adapters write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dspy

from lmpipe.errors import ExportError
from lmpipe.integrations.dspy.adapters import configured_adapter, pieces_of_turn
from lmpipe.integrations.dspy.learned import LearnedPredictor
from lmpipe.integrations.dspy.lms import as_asked, capabilities_of
from lmpipe.integrations.dspy.plain import is_special
from lmpipe.integrations.export.checks import schema_of
from lmpipe.integrations.export.document import FORMAT, defaults_of, request_fields, turns_of
from lmpipe.integrations.export.fields import field_document
from lmpipe.integrations.export.regex import INDENT, NEVER, SPACE, literal
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

_BETWEEN = "\n\n"
_NO_RULE = {"pattern": NEVER, "first": False, "rest": False}
_END = r"(?![\s\S])"
_HEADER = r"\[\[ ## \w+ ## \]\]"
# DSPy takes them for ends of lines.
_LINE_ENDS = r"(?![\s\S]*[\r\v\f\x1c-\x1e\x85\u2028\u2029])"
# DSPy reads numbers and truths as Python and JSON write them.
_NUMBERS = {"integer": "-?(?:0|[1-9][0-9]*)", "number": r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"}
_TRUTHS = {"=True": True, "=False": False, "=true": True, "=false": False}


def dspy_document(
    path: str,
    learned: LearnedPredictor,
    lm: LM,
    conversation: Callable[[Mapping[str, Any]], tuple[Message, ...]],
) -> dict[str, Any]:
    """Write the prompt of a predictor of a DSPy program; see `prompt_document`.

    Args:
        path: of the predictor.
        learned: the predictor with its state.
        lm: that would answer it.
        conversation: writes the messages of a call with some inputs.

    Raises:
        ExportError: if its demonstrations are chosen for each call, DSPy's adapter is another one,
            or an input is not shown as a text or as JSON.
    """
    spec, types, adapter = learned.spec, dict[str, Any](), configured_adapter()
    if learned.state.retrieval is not None:
        raise _refused(path, "its demonstrations are chosen for each call")
    if type(adapter) not in (dspy.ChatAdapter, dspy.JSONAdapter):
        raise _refused(path, f"{type(adapter).__name__} writes it, not ChatAdapter or JSONAdapter")
    in_json = type(adapter) is dspy.JSONAdapter
    inputs = {field.name: _input(path, field, types) for field in spec.inputs}
    slots, ending = _slots(adapter, learned.signature)
    if not slots:
        raise _refused(path, "its turn does not show each input once")
    histories = [field.name for field in spec.inputs if field.annotation is dspy.History]
    if histories and in_json:
        raise _refused(path, "JSONAdapter writes earlier turns (dspy.History)")
    messages = conversation(_no_inputs(learned.signature))
    template = {"between": "", "close": "", "json": False, "trim": False, "rule": _NO_RULE}
    outputs = {
        field.name: _output(field_document(field, types, output=True, in_json=in_json))
        for field in spec.outputs
    }
    fields = [*inputs.values(), *outputs.values()]
    return {
        "format": FORMAT,
        "name": path,
        "signature": spec.name,
        "layout": "dspy-json" if in_json else "dspy-chat",
        "adapter": learned.state.adapter.to_json() if learned.state.adapter else None,
        "schema": spec.output_schema,
        "constraint": None,
        "request": request_fields(asked_lm(learned.signature, lm)),
        "messages": turns_of(lm, messages[:-1]),
        "question": {**template, "open": "", "between": _BETWEEN, "slots": slots},
        "reminder": ending,
        "remind": True,
        "inputs": inputs,
        "outputs": outputs,
        "defaults": {"inputs": {}, "outputs": defaults_of(spec.outputs)},
        "types": types,
        "histories": histories,
        "steps": {"input": "", "native": False},
        "answer": {
            **template,
            "open": "",
            "between": _BETWEEN,
            "slots": [_slot(name) for name in spec.output_names],
            "close": "\n\n[[ ## completed ## ]]\n",
            "tool": "",
        },
        "reply": {
            "names": list(spec.output_names),
            "pattern": "" if in_json else _reply_pattern(spec),
            "rule": _NO_RULE,
            "thoughts": [],
        },
        "extraction": None,
        "pool": None,
        "extras": any(field["deep"] for field in fields),
    }


def _refused(path: str, why: str) -> ExportError:
    return ExportError(f"{path}: this prompt of DSPy cannot be exported: {why}")


def _slots(adapter: Any, signature: Any) -> tuple[list[dict[str, str]], str]:
    """The slots of the question and the text after them; none if there are not such slots."""
    for name, field in signature.input_fields.items():
        if field.annotation is dspy.History:
            signature = signature.delete(name)  # earlier turns stand before the question
    names = list(signature.input_fields)
    pieces = pieces_of_turn(adapter, signature) if names else None
    if pieces is None:
        return [], ""
    slots = [_slot(name) for name in names]
    between = [slots[0]["before"], *(_BETWEEN + slot["before"] for slot in slots[1:])]
    return (slots, pieces[-1]) if list(pieces[:-1]) == between else ([], "")


def _slot(name: str) -> dict[str, str]:
    return {"name": name, "before": f"[[ ## {name} ## ]]\n", "after": ""}


def _input(path: str, field: FieldSpec, types: dict[str, Any]) -> dict[str, Any]:
    """An input as DSPy shows it: a text, a Python constant, or JSON with blanks in it."""
    if field.annotation is dspy.History:
        return field_document(field, types)
    if is_special(field.annotation):
        raise _refused(path, f"the input {field.name!r} ({field.type_name}) is not shown as a text")
    made = field_document(field, types)
    if _is_uncertain(schema_of(field)):
        raise _refused(
            path,
            f"the input {field.name!r} ({field.type_name}) may hold fractions, sets or values of "
            "any type, which Python and JavaScript write differently: declare another type",
        )
    spelled = {"null": "None", "true": "True", "false": "False"}
    if made["deep"]:
        return {**made, "json": False, "parts": "spaced", "spelled": spelled}
    return {**made, "spelled": spelled}


def _is_uncertain(schema: Any) -> bool:
    """Whether values of a schema may be written in more than one way."""
    if isinstance(schema, list):
        return any(map(_is_uncertain, schema))
    if not isinstance(schema, dict):
        return False
    kinds = ("type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const")
    if not any(kind in schema for kind in kinds):
        return True
    if schema.get("type") == "number" or schema.get("uniqueItems"):
        return True
    if schema.get("type") == "array" and "items" not in schema and "prefixItems" not in schema:
        return True
    more = schema.get("additionalProperties")
    if schema.get("type") == "object" and (
        more is True or (more is None and not schema.get("properties"))
    ):
        return True
    inside = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    listed = ("items", "prefixItems", "anyOf", "oneOf", "allOf")
    inside += [schema[name] for name in listed if name in schema]
    return any(map(_is_uncertain, inside)) or (isinstance(more, dict) and _is_uncertain(more))


class _Asked(BaseException):  # not an Exception: DSPy's adapters catch those, and ask again
    """The settings with which an adapter asks."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings


class _NotAsked(dspy.BaseLM):  # type: ignore[misc]
    """Stands for an LM, and raises the settings with which it would be asked."""

    def __init__(self, lm: LM) -> None:
        super().__init__(lm.model)
        self._known = capabilities_of(lm)

    def __call__(self, prompt: Any = None, *, messages: Any = None, **settings: Any) -> Any:
        raise _Asked(settings)

    @property
    def supports_function_calling(self) -> bool:
        return self._known.function_calling

    @property
    def supports_reasoning(self) -> bool:
        return self._known.reasoning

    @property
    def supports_response_schema(self) -> bool:
        return self._known.response_schema

    @property
    def supported_params(self) -> set[str]:
        return set(self._known.params)


def asked_lm(signature: Any, lm: LM) -> LM:
    """Return an LM with the settings that DSPy's adapter adds, such as the form of the reply."""
    try:
        configured_adapter()(_NotAsked(lm), {}, signature, [], _no_inputs(signature))
    except _Asked as asked:
        return as_asked(lm, asked.settings)
    raise AssertionError("DSPy's adapter made no call")


def _no_inputs(signature: Any) -> dict[str, Any]:
    """Inputs that are empty."""
    return {
        name: dspy.History(messages=[]) if field.annotation is dspy.History else ""
        for name, field in signature.input_fields.items()
    }


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
