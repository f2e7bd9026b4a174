"""Messages of a chat to the inputs of a program, and its outputs to a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lmpipe.foundation.exact_json import dump_json, load_json
from lmpipe.serve.interface import RESULT, Interface
from lmpipe.serve.problems import FieldProblem, Refused
from lmpipe.signatures.field_types.history import ROLES
from lmpipe.signatures.field_types.media import Image
from lmpipe.signatures.signature import REASONING
from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.value_shape import plain_type

_MESSAGES = "messages"


@dataclass(frozen=True)
class Asked:
    """What a chat asks of a program.

    Args:
        inputs: the inputs, not validated yet.
        ignored: what of the messages the program has no use for.
    """

    inputs: Mapping[str, Any]
    ignored: Sequence[str]


def read_messages(interface: Interface, messages: object) -> Asked:
    """Find the inputs of a program in the messages of a chat.

    The last message is the question: the text of the one input that must be given, or else a JSON
    object with the inputs. Its pictures go to the input for pictures. Earlier messages go to the
    input of the type `History`. The program has an instruction of its own, so that a system
    message is ignored.

    Raises:
        Refused: if it cannot be; says what to send.
    """
    turns = [_turn(number, item) for number, item in enumerate(_listed(messages))]
    ignored = ["system messages"] if any(role == "system" for role, _, _ in turns) else []
    turns = [turn for turn in turns if turn[0] != "system"]
    if not turns or turns[-1][0] != "user":
        raise _refused("ends without a message of the user", "end it with one of role `user`")
    *earlier, (_, text, pictures) = turns
    inputs: dict[str, Any] = {}
    history = next((field for field in interface.inputs.values() if field.is_history), None)
    if history is not None:
        inputs[history.name] = [{"role": role, "content": said} for role, said, _ in earlier]
    elif earlier:
        ignored.append("earlier messages")
    inputs |= _pictures(interface, pictures)
    asked = [
        field
        for field in interface.inputs.values()
        if field.name not in inputs and field is not history
    ]
    return Asked({**inputs, **_question(asked, text)}, ignored)


def content_of(interface: Interface, outputs: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of the answer, and the reasoning before it.

    One output is its text, or its JSON if it is not text; several are a JSON object.
    """
    reasoning = outputs.get(REASONING, "")
    if interface.answer is not None:
        value = outputs[interface.answer.name]
    else:
        value = {name: item for name, item in outputs.items() if name != REASONING}
        value = value[RESULT] if value.keys() == {RESULT} else value
    text = value if isinstance(value, str) else dump_json(value).decode()
    return text, reasoning if isinstance(reasoning, str) else ""


def _question(asked: Sequence[FieldSpec], text: str) -> dict[str, Any]:
    """Return the inputs that the text of the question gives."""
    needed = [field for field in asked if field.required] or list(asked)
    if len(needed) == 1:
        (field,) = needed
        return {field.name: text if field.takes_any_text else _value(text)}
    if not asked and not text:
        return {}
    value = _value(text)
    if not isinstance(value, dict):
        names = ", ".join(field.name for field in asked)
        raise _refused(
            "ends with a text, but the program has several inputs",
            f"end it with a JSON object with the inputs {names}",
        )
    return value


def _value(text: str) -> Any:
    try:
        return load_json(text)
    except orjson.JSONDecodeError:
        return text


def _pictures(interface: Interface, urls: Sequence[str]) -> dict[str, Any]:
    if not urls:
        return {}
    for field in interface.inputs.values():
        if plain_type(field.annotation) is Image and len(urls) == 1:
            return {field.name: urls[0]}
        if plain_type(field.annotation) == list[Image]:
            return {field.name: list(urls)}
    count = "a picture" if len(urls) == 1 else f"{len(urls)} pictures"
    raise _refused(f"has {count}, for which the program has no input", "send text")


def _listed(messages: object) -> Sequence[Any]:
    if not isinstance(messages, list) or not messages:
        raise _refused("is not a list of one message or more", "send the messages of the chat")
    return messages


def _turn(number: int, message: Any) -> tuple[str, str, list[str]]:
    """Return the role, the text and the URLs of pictures of one message."""
    match message:
        case {"role": str(role), "content": str(text)}:
            pictures: list[str] = []
        case {"role": str(role), "content": list(parts)}:
            text, pictures = _parts(number, parts)
        case _:
            raise _refused(
                f"has no role and content at {number}", "send messages of text and pictures"
            )
    role = "system" if role == "developer" else role
    if role not in ("system", *ROLES):
        raise _refused(
            f"has the role {role[:40]!r} at {number}", "send messages of the user and assistant"
        )
    return role, text, pictures


def _parts(number: int, parts: Sequence[Any]) -> tuple[str, list[str]]:
    texts: list[str] = []
    pictures: list[str] = []
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                pictures.append(url)
            case _:
                raise _refused(
                    f"has a part at {number} that is neither text nor a picture",
                    "send parts of the types `text` and `image_url`",
                )
    return "\n".join(texts), pictures


def _refused(detail: str, remedy: str) -> Refused:
    problem = FieldProblem(_MESSAGES, detail, remedy)
    return problem.refusal(400, "invalid-messages", f"the chat {detail}")
