"""Grammars (GBNF) that constrain a reply to its layout while it is decoded.

Both llama.cpp and vLLM (`structured_outputs.grammar`) take them.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmpipe.lm.message import Constraint
from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.value_shape import Shape

# Engines unroll a counted repetition, so longer ones are left unbounded.
_LONGEST_COUNTED = 200

_JSON_RULES = r"""
json ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" space ( pair ( "," space pair )* )? "}"
pair ::= string ":" space json space
array ::= "[" space ( json space ( "," space json space )* )? "]"
string ::= "\"" ( [^"\\\x00-\x1f] | "\\" ["\\/bfnrt] | "\\u" [0-9a-fA-F]{4} )* "\""
number ::= "-"? [0-9]+ ( "." [0-9]+ )? ( [eE] [-+]? [0-9]+ )?
space ::= " "?
"""


def reply_grammar(parts: Sequence[str | FieldSpec]) -> Constraint:
    """Write the grammar of a reply made of fixed text and field values, in this order."""
    root, rules, needs_json = [], [], False
    for index, part in enumerate(parts):
        if isinstance(part, str):
            root.append(_quote(part))
            continue
        rule = f"field-{index}"  # Python names may hold letters that rule names may not
        root.append(rule)
        rules.append(f"{rule} ::= {_value(part.shape)}")
        needs_json = needs_json or part.shape.kind == "json"
    text = f"root ::= {' '.join(root)}\n" + "\n".join(rules)
    return Constraint("grammar", text + (_JSON_RULES if needs_json else "\n"))


def _value(shape: Shape) -> str:
    body = _plain_value(shape)
    return f'"{shape.none}" | {body}' if shape.optional else body


def _plain_value(shape: Shape) -> str:
    match shape.kind:
        case "choice":
            return " | ".join(_quote(str(choice)) for choice in shape.choices)
        case "integer":
            return '"-"? [0-9]{1,20}'
        case "number":
            return '"-"? [0-9]{1,20} ( "." [0-9]{1,24} )? ( "e" [-+]? [0-9]{1,3} )?'
        case "boolean":
            return '"yes" | "no"'
        case "date":
            return '[0-9]{4} "-" [0-9]{2} "-" [0-9]{2}'
        case "json":
            return "json"
    longest = shape.max_length
    count = f"{{1,{longest}}}" if longest and longest <= _LONGEST_COUNTED else "+"
    return rf"[^\n]{count}"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
