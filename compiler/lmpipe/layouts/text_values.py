"""Values inside a text: their outer white space, and lines of theirs that look like a label."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from lmpipe.layouts.describe import blank
from lmpipe.layouts.layout import LayoutError, Part, Reading
from lmpipe.layouts.parse_values import read_value, spell
from lmpipe.layouts.read_json import read_json
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

IsLabel = Callable[[str], bool]


def trim(text: str) -> str:
    """Drop blank lines at the start, white space at the end, and one single leading space.

    Deeper indentation of the first line is kept, because code may begin with it.
    """
    text = text.rstrip()
    if not text[:1].isspace():
        return text
    body = text.lstrip()
    blank = text[: len(text) - len(body)]
    indentation = blank[len(blank.rstrip(" \t")) :]
    return body if indentation == " " else indentation + body


def spelled(
    fields: Sequence[FieldSpec], values: Mapping[str, Any], *, trimmed: bool
) -> list[tuple[str, str]]:
    """Write the JSON values that there are as text, each with its field's name."""
    texts = [
        (field.name, spell(field, values[field.name])) for field in fields if field.name in values
    ]
    return [(name, trim(text)) for name, text in texts] if trimmed else texts


def escape(text: str, is_label: IsLabel) -> str:
    """Write one more backslash before every line that looks like a label, escaped or not."""
    return "\n".join(
        "\\" + line if is_label(line.lstrip("\\")) else line for line in text.split("\n")
    )


def unescape(text: str, is_label: IsLabel) -> str:
    """Undo `escape`."""
    if "\\" not in text:
        return text
    return "\n".join(
        line[1:] if line.startswith("\\") and is_label(line.lstrip("\\")) else line
        for line in text.split("\n")
    )


def read_texts(spec: SignatureSpec, texts: Mapping[str, str]) -> Reading:
    """Read the values of the outputs from their texts.

    Raises:
        LayoutError: if a text does not hold such a value.
    """
    values, any_repaired = {}, False
    for field in spec.outputs:
        text = texts.get(field.name)
        if text is None:
            continue
        if field.takes_any_text:  # most outputs
            values[field.name] = value = trim(text)
            if value.startswith("(the ") and is_blank(field, value):  # a fast look first
                raise LayoutError(f"the reply repeats the form: write the {field.name} itself")
        else:
            values[field.name], repaired = read_text(field, text)
            any_repaired = any_repaired or repaired
    return Reading(values, any_repaired)


def is_blank(field: FieldSpec, value: str) -> bool:
    """Whether a text is the placeholder that stands for it in the form."""
    return value == blank(field.name)


def read_text(field: FieldSpec, text: str) -> tuple[Any, bool]:
    """Read a value from its text in a text layout.

    Returns:
        The raw value, and whether its JSON had to be repaired.

    Raises:
        LayoutError: if the text does not hold such a value.
    """
    value, repaired = read_value(field, text)
    kept = field.shape.kind == "text" and value == text.strip()
    return (trim(text) if kept else value), repaired


def read_part(field: FieldSpec, part: Part) -> Any:
    """Read the raw value of an output that a reply has whole.

    Raises:
        LayoutError: if it does not hold such a value.
    """
    match part.form:
        case "string":
            return part.text
        case "json":
            return read_json(field.name, part.text)[0]
    return read_text(field, part.text)[0]


def missing_outputs(spec: SignatureSpec, found: Collection[str]) -> list[str]:
    """List the required outputs that a reply lacks."""
    return [f.name for f in spec.outputs if f.name not in found and f.required]


def lacks(missing: list[str], expected: str) -> LayoutError:
    """Make the error for a reply without some outputs."""
    return LayoutError(f"the reply lacks {', '.join(map(repr, missing))}", expected)


def ambiguous(expected: str) -> LayoutError:
    """Make the error for a reply that has more than one value for an output."""
    return LayoutError("the reply can be read in more than one way", expected, ambiguous=True)
