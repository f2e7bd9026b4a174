"""What runs code inside a sandbox that has a whole Python: Pyodide, or a container.

This file is sent there as text. It imports nothing of lmpipe, and speaks JSON, one message a line:
the host sends `{"functions": […]}` once, and `{"run": number, "code": …, "variables": {…}}` for
each run. While code runs, this sends `{"print": text}` and `{"call": name, "args": […],
"kwargs": {…}}`, which is answered by `{"value": …}` or `{"kind": …, "message": …}`; at the end
`{"run": number, "value": …, "kind": …, "message": …, "frames": […]}`.

The code could change everything here: it cannot leave the sandbox, and the host believes nothing.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import io
import json
import linecache
import sys
import traceback
from collections.abc import Callable
from types import CodeType
from typing import Any

_FILE = "<code>"

Send = Callable[[dict[str, Any]], None]
Receive = Callable[[], str]


class _Printed(io.TextIOBase):
    """Sends what the code prints, up to a limit."""

    def __init__(self, send: Send, limit: int) -> None:
        self._send, self._room = send, limit

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        # One character more than the limit tells the host that there was more.
        if self._room >= 0 and text:
            self._send({"print": text[: self._room + 1]})
            self._room -= len(text)
        return len(text)


def _plain(value: Any) -> Any:
    """What JSON does not have."""
    if isinstance(value, (set, frozenset)):
        try:
            return sorted(value)
        except TypeError:
            return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    isoformat = getattr(value, "isoformat", None)  # of dates and times
    return isoformat() if callable(isoformat) else str(value)


def _json_value(value: Any) -> Any:
    """Return the value if it can be written as JSON, else a text."""
    try:
        json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:1000]
    return value


def _compiled(code: str) -> tuple[CodeType, CodeType | None]:
    """Compile code, and its last line apart if that is an expression."""
    tree = ast.parse(code, _FILE)
    last = None
    if tree.body and isinstance(expression := tree.body[-1], ast.Expr):
        tree.body.pop()
        last = compile(ast.Expression(expression.value), _FILE, "eval")
    return compile(tree, _FILE, "exec"), last


def _frames(error: BaseException) -> list[list[Any]]:
    if isinstance(error, SyntaxError) and error.filename == _FILE:
        return [[error.lineno or 0, ""]]
    frames = traceback.extract_tb(error.__traceback__)
    named = [(frame.lineno, frame.name) for frame in frames if frame.filename == _FILE]
    return [[line, "" if name == "<module>" else name] for line, name in named[-5:]]


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return str(error.msg)
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - the code's own method may raise anything
        return ""


def _host_function(name: str, send: Send, receive: Receive) -> Callable[..., Any]:
    def host_function(*args: Any, **kwargs: Any) -> Any:
        send({"call": name, "args": args, "kwargs": kwargs})
        answer = json.loads(receive())
        if answer["kind"]:
            kind: Any = getattr(builtins, answer["kind"])
            try:
                error = kind(answer["message"])
            except TypeError:
                error = RuntimeError(answer["kind"] + ": " + answer["message"])
            raise error
        return answer["value"]

    host_function.__name__ = host_function.__qualname__ = name
    return host_function


def serve(send_line: Callable[[str], object], receive: Receive) -> None:
    """Run code until the host sends an empty line.

    Args:
        send_line: sends a text, which has no line break.
        receive: waits for a line.
    """

    def send(message: dict[str, Any]) -> None:
        send_line(json.dumps(message, default=_plain))

    start = json.loads(receive())
    scope = {"__name__": "__main__", "__builtins__": builtins}
    for name in start["functions"]:
        scope[name] = _host_function(name, send, receive)
    send({"ready": True})
    while line := receive().strip():
        ask = json.loads(line)
        sys.stdout = sys.stderr = _Printed(send, start["output_chars"])
        end = {"run": ask["run"], "value": None, "kind": "", "message": "", "frames": []}
        # Tracebacks inside the code can then show its lines.
        code = ask["code"]
        linecache.cache[_FILE] = (len(code), None, code.splitlines(True), _FILE)
        scope.update(ask["variables"])  # also for later code, if this one cannot be compiled
        try:
            body, last = _compiled(code)
            exec(body, scope)  # noqa: S102 - inside the sandbox
            if last is not None:
                end["value"] = _json_value(eval(last, scope))  # noqa: S307
        except SystemExit:
            pass  # an end like any other
        except BaseException as error:  # noqa: BLE001 - code may raise anything
            end.update(kind=type(error).__name__, message=_message(error), frames=_frames(error))
        send(end)


def serve_pipes() -> None:
    """Serve over the standard streams, which the code cannot mix up with its own output."""
    out, source = sys.stdout, sys.stdin
    sys.stdin = io.StringIO()

    def send_line(text: str) -> None:
        out.write(text + "\n")
        out.flush()

    serve(send_line, source.readline)
