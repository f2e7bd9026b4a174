"""Functions of this process that code in a sandbox may call.

What crosses the border are JSON values. Whatever the code gives as arguments comes from an LM.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from lmpipe.errors import ENDS_RUN, CallError
from lmpipe.foundation.shorten import shorten_middle
from lmpipe.lm.concurrency.loop import call
from lmpipe.sandbox.values import plain_value

HostFunction = Callable[..., object]

_MESSAGE_CHARS = 2000


class StopCode(Exception):  # noqa: N818 - not an error
    """Raised by a host function to end the code; the run is a success."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the code gets from a host function: a value, or an error by its class and message.

    `kind` is the name of an exception class of Python, `SystemExit` to end the code, or empty.
    """

    value: JsonValue = None
    kind: str = ""
    message: str = ""


@dataclass(slots=True)
class HostCalls:
    """Answers the calls of one run.

    Args:
        functions: by the names under which the code calls them.
        limit: the most calls.
    """

    functions: Mapping[str, HostFunction]
    limit: int
    made: int = field(default=0, init=False)

    @property
    def exceeded(self) -> bool:
        return self.made > self.limit

    async def answer(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Answer:
        """Call a function for the code.

        Raises:
            LmpipeError: one of `errors.ENDS_RUN` that the function raised.
        """
        function = self.functions.get(name)
        if function is None:
            return Answer(kind="NameError", message=f"name {name!r} is not defined")
        self.made += 1
        if self.exceeded:
            problem = f"the code called host functions more than {self.limit:,} times"
            return Answer(kind="RuntimeError", message=problem)
        try:
            given = [plain_value(item) for item in args]
            named = {name: plain_value(item) for name, item in kwargs.items()}
            return Answer(plain_value(await call(function, *given, **named)))
        except StopCode:
            return Answer(kind="SystemExit")
        except ENDS_RUN:
            raise
        except Exception as error:  # noqa: BLE001 - it may raise anything; the code sees it
            return _error(error)


def _error(error: Exception) -> Answer:
    """Keep the class of Python's own exceptions; the sandbox does not know any other."""
    kind = type(error).__name__
    message = shorten_middle(str(error), head=_MESSAGE_CHARS * 2 // 3, tail=_MESSAGE_CHARS // 3)
    if getattr(builtins, kind, None) is type(error):
        return Answer(kind=kind, message=message)
    return Answer(kind="RuntimeError", message=f"{kind}: {message}")


def check_names(what: str, names: Mapping[str, Any]) -> None:
    """Raise a CallError if one is no name of a variable in Python."""
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise CallError(f"{what} {name!r:.100}: give a name that Python takes for a variable")


def check_functions(functions: Mapping[str, HostFunction]) -> None:
    """Raise a CallError if one cannot be called."""
    check_names("the host function", functions)
    for name, function in functions.items():
        if not callable(function):
            raise CallError(f"the host function {name!r} is {function!r:.100}: give a function")
