"""The file format of cassettes: one line per recorded call, in an order set by its contents.

    {"cassette": 1}
    {"message": {"system": "Route a ticket …"}, "shared": "5f0c2a81d9e4"}
    {"lm": {"max_tokens": 16, "model": "local", "temperature": 0.0},
     "messages": ["5f0c2a81d9e4", {"user": "My card was charged twice"}],
     "reply": {"text": "billing", "usage": {"completion_tokens": 3, "prompt_tokens": 41}}}

(each on one line). Unset settings, the finish "stop" and the sample 0 are left out. Turns and
constraints that several calls share are written once, before the first of these calls, and so are
tools. Media are named by their hash; `media_folder` has their bytes. Results other than LM replies
are lines with `record`; see `records`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from lmpipe.errors import CassetteError
from lmpipe.foundation.canonical_json import canonical_json, digest
from lmpipe.foundation.exact_json import load_json
from lmpipe.lm.cassettes.media_folder import MediaFolder
from lmpipe.lm.cassettes.records import Record, read_record
from lmpipe.lm.message import Constraint, Message, Role
from lmpipe.lm.parts import Media, ToolSpec, read_part
from lmpipe.lm.providers import weights_of
from lmpipe.lm.reasoning import split_reasoning
from lmpipe.lm.request import Finish, Reply, Request, read_extras
from lmpipe.state.usage import Usage

FORMAT = 1

# Settings with these values are left out, so that recorded calls stay valid when `LM` gets new
# settings.
_UNSET: tuple[Any, ...] = (None, "", "auto", {}, [])

# Shorter parts are repeated in each call; last turns may be longer, as readers look for them.
_MIN_SHARED = 40
_MIN_SHARED_LAST = 400

# What several calls can share.
_Shared = Message | Constraint | tuple[ToolSpec, ...]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as a cassette stores it.

    Args:
        lm: the settings of the LM that can change a reply, as JSON, without secrets.
        messages: the conversation.
        constraint: what restricts the decoding, if something does.
        sample: the number of the sample.
        tools: the tools that the LM may call.
        tool_choice: which of them it must call; empty if it may choose.
    """

    lm: Mapping[str, Any]
    messages: tuple[Message, ...]
    constraint: Constraint | None = None
    sample: int = 0
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = ""

    @staticmethod
    def of(request: Request) -> RecordedRequest:
        """Convert a request."""
        settings = {**request.lm.identity(), "weights": weights_of(request.lm)[:12]}
        lm = {name: value for name, value in settings.items() if value not in _UNSET}
        return RecordedRequest(
            lm,
            request.messages,
            request.constraint,
            request.sample,
            request.tools,
            request.tool_choice if request.tools else "",
        )

    @property
    def base_url(self) -> str:
        """The server's URL, or the empty string."""
        return str(self.lm.get("base_url", ""))

    @property
    def key(self) -> tuple[str, str]:
        """What identifies its recording: its id and the server's URL."""
        return self.id(), self.base_url

    @property
    def without_weights(self) -> RecordedRequest:
        """The same request of an embedded LM whose weights are not known."""
        lm = {name: value for name, value in self.lm.items() if name != "weights"}
        return replace(self, lm=lm)

    def id(self) -> str:
        """Hash everything except the server's URL, so that recordings replay at any address."""
        parts: list[Any] = [
            {name: value for name, value in self.lm.items() if name != "base_url"},
            [[message.role, message.to_json()["content"]] for message in self.messages],
            [self.constraint.kind, self.constraint.value] if self.constraint else None,
            self.sample,
        ]
        if self.tools:
            parts.append([_tools_json(self.tools), self.tool_choice])
        return digest(parts)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call of an LM with its reply.

    Args:
        request: what was asked.
        reply: what the LM answered; it has no duration.
    """

    request: RecordedRequest
    reply: Reply


def dump_calls(calls: Iterable[RecordedCall], records: Iterable[Record] = ()) -> bytes:
    """Encode a cassette: the same calls give the same bytes, in any order."""
    ordered = sorted(calls, key=_sort_key)
    uses = Counter(part for call in ordered for part in _parts(call.request))
    last = {message for call in ordered for message in call.request.messages[-1:]}
    shared = {
        part
        for part, count in uses.items()
        if count > 1 and _length(part) >= (_MIN_SHARED_LAST if part in last else _MIN_SHARED)
    }
    lines, written = [canonical_json({"cassette": FORMAT})], set()
    for call in ordered:
        for part in _parts(call.request):
            if part in shared and part not in written:
                written.add(part)
                lines.append(
                    canonical_json({"shared": _part_id(part), _kind(part): _to_json(part)})
                )
        lines.append(dump_call(call, shared))
    lines += sorted(record.line() for record in records)
    return b"\n".join(lines) + b"\n"


def dump_call(call: RecordedCall, shared: set[_Shared] | None = None) -> bytes:
    """Encode one call, with references to the `shared` parts.

    Raises a CassetteError if the reply is not valid Unicode.
    """
    request, names = call.request, shared or set()
    line: dict[str, Any] = {
        "lm": request.lm,
        "messages": [
            _part_id(message) if message in names else _to_json(message)
            for message in request.messages
        ],
        "reply": _dump_reply(call.reply),
    }
    if request.constraint is not None:
        known = request.constraint in names
        line["constraint"] = _part_id(request.constraint) if known else _to_json(request.constraint)
    if request.sample:
        line["sample"] = request.sample
    if request.tools:
        known = request.tools in names
        line["tools"] = _part_id(request.tools) if known else _to_json(request.tools)
        if request.tool_choice:
            line["tool_choice"] = request.tool_choice
    try:
        return canonical_json(line)
    except TypeError as error:
        raise CassetteError(
            f"a reply of {request.lm['model']} cannot be recorded: {error}"
        ) from error


def _sort_key(call: RecordedCall) -> tuple[Any, ...]:
    request = call.request
    constraint = [request.constraint.kind, request.constraint.value] if request.constraint else []
    conversation = [(message.role, message.text) for message in request.messages]
    parts = [message.line() for message in request.messages if not isinstance(message.content, str)]
    tools = canonical_json([_tools_json(request.tools), request.tool_choice])
    return conversation, canonical_json(request.lm), constraint, request.sample, parts, tools


def _parts(request: RecordedRequest) -> Iterable[_Shared]:
    parts: list[_Shared] = [*request.messages]
    if request.constraint is not None:
        parts.append(request.constraint)
    if request.tools:
        parts.append(request.tools)
    return parts


def _kind(part: _Shared) -> str:
    if isinstance(part, tuple):
        return "tools"
    return "message" if isinstance(part, Message) else "constraint"


def _length(part: _Shared) -> int:
    if isinstance(part, Constraint):
        return len(part.value)
    if isinstance(part, Message) and isinstance(part.content, str):
        return len(part.content)
    return len(canonical_json(_to_json(part)))


def _to_json(part: _Shared) -> Any:
    if isinstance(part, tuple):
        return _tools_json(part)
    if isinstance(part, Message):
        return {part.role: part.to_json()["content"]}
    return {part.kind: part.value}


def _tools_json(tools: tuple[ToolSpec, ...]) -> list[dict[str, str]]:
    return [tool.to_json() for tool in tools]


def _part_id(part: _Shared) -> str:
    return digest(_to_json(part))[:12]


def _dump_reply(reply: Reply) -> dict[str, Any]:
    line: dict[str, Any] = {"text": reply.text}
    usage = {name: count for name, count in reply.usage.to_json().items() if count}
    if usage:
        line["usage"] = usage
    if reply.finish != "stop":
        line["finish"] = reply.finish
    if reply.fingerprint:
        line["fingerprint"] = reply.fingerprint
    return line | reply.extras()


def read_cassette(
    path: Path, *, media: MediaFolder | None = None, torn: bool = False
) -> tuple[dict[tuple[str, str], RecordedCall], dict[str, Record]]:
    """Read a cassette: calls by the request's id and the server's URL, and records by key.

    `media` has the bytes of its media, by default those beside it. The last line of a `torn` file
    may be incomplete because the process was killed. Raises a CassetteError if a line is damaged,
    a medium is missing, or two lines have different replies to one request.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise CassetteError(f"the cassette {path} cannot be read: {error.strerror}") from error
    if torn:
        lines = lines[:-1]
    reader = _Reader(path, media or MediaFolder(path))
    for number, line in enumerate(lines, start=1):
        if line.strip():
            reader.read(number, line)
    return reader.calls, reader.records


class _Reader:
    def __init__(self, path: Path, media: MediaFolder) -> None:
        self.calls: dict[tuple[str, str], RecordedCall] = {}
        self.records: dict[str, Record] = {}
        self._path = path
        self._begun = False
        self._places: dict[tuple[str, str], int] = {}
        self._shared: dict[str, _Shared] = {}
        self._media = media

    def read(self, number: int, line: bytes) -> None:
        try:
            value = load_json(line)
            if not isinstance(value, dict):
                raise ValueError("expected an object")
            if not self._begun:
                self._check_head(value)
            elif "shared" in value:
                self._shared[value["shared"]] = self._read_shared(value)
            elif "record" in value:
                self._add_record(read_record(value))
            else:
                self._add(number, self._call(value))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            why = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            if line.startswith((b"<<<<<<<", b"=======", b">>>>>>>")):
                why = "a merge conflict"
            raise CassetteError(
                f"{self._path}:{number}: this line of the cassette is damaged ({why})\n"
                "  restore the file, or delete it and record again"
            ) from error

    def _add_record(self, record: Record) -> None:
        if self.records.setdefault(record.key, record).value != record.value:
            raise ValueError("a line above has another value for the same record")

    def _check_head(self, value: dict[str, Any]) -> None:
        version = value.get("cassette")
        if version is None:
            raise ValueError(f'it must be {{"cassette":{FORMAT}}}')
        if version != FORMAT:
            raise ValueError(f"its format is {version!r}, this lmpipe reads {FORMAT}")
        self._begun = True

    def _call(self, value: dict[str, Any]) -> RecordedCall:
        lm, sample = value["lm"], value.get("sample", 0)
        if not isinstance(lm, dict) or not isinstance(lm["model"], str) or type(sample) is not int:
            raise ValueError("not a recorded call")
        messages = tuple(self._part(part, self._read_message) for part in value["messages"])
        constraint = value.get("constraint")
        if constraint is not None:
            constraint = self._part(constraint, _read_constraint)
        tools = self._part(value["tools"], _read_tools) if "tools" in value else ()
        choice = value.get("tool_choice", "")
        if not isinstance(choice, str):
            raise ValueError("its tool_choice is not a text")
        request = RecordedRequest(lm, messages, constraint, sample, tools, choice)
        return RecordedCall(request, _read_reply(value["reply"]))

    def _read_shared(self, value: dict[str, Any]) -> _Shared:
        if "message" in value:
            return self._read_message(value["message"])
        if "tools" in value:
            return _read_tools(value["tools"])
        return _read_constraint(value["constraint"])

    def _read_message(self, value: dict[Any, Any]) -> Message:
        return _read_message(value, self._media.read)

    def _part(self, value: Any, read: Any) -> Any:
        if not isinstance(value, str):
            return read(value)
        if value not in self._shared:
            raise ValueError(f"the shared part {value!r} is not in the lines above")
        return self._shared[value]

    def _add(self, number: int, call: RecordedCall) -> None:
        key = call.request.key
        known = self.calls.get(key)
        if known is not None and known.reply != call.reply:
            raise ValueError(f"line {self._places[key]} has another reply to the same request")
        self.calls[key] = call
        self._places.setdefault(key, number)


def _read_message(value: dict[Any, Any], media: Media) -> Message:
    ((role, content),) = value.items()
    if role not in get_args(Role):
        raise ValueError(f"unknown role {role!r}")
    if isinstance(content, str):
        return Message(role, content)
    if not isinstance(content, list):
        raise ValueError("the content of a message is neither a text nor parts")
    return Message(role, tuple([read_part(part, media) for part in content]))


def _read_tools(value: Any) -> tuple[ToolSpec, ...]:
    return tuple([_read_tool(tool) for tool in value])


def _read_tool(value: Any) -> ToolSpec:
    match value:
        case {"name": str(name), "description": str(about), "parameters": str(parameters)}:
            return ToolSpec(name, about, parameters)
    raise ValueError("not a tool")


def _read_constraint(value: dict[Any, Any]) -> Constraint:
    ((kind, text),) = value.items()
    if kind not in ("json_schema", "grammar") or not isinstance(text, str):
        raise ValueError(f"unknown kind of constraint {kind!r}")
    return Constraint(kind, text)


def _read_reply(value: dict[str, Any]) -> Reply:
    text, finish = value["text"], value.get("finish", "stop")
    usage = Usage.from_json(value.get("usage", {}))
    if not isinstance(text, str) or finish not in get_args(Finish):
        raise ValueError("its reply is not valid")
    extras = read_extras(value)
    if not extras.get("reasoning"):  # earlier versions recorded the thoughts with the text
        reasoning, text = split_reasoning(text)
        if reasoning:
            extras["reasoning"] = reasoning
    return Reply(text, finish, usage, fingerprint=str(value.get("fingerprint", "")), **extras)
