"""Replies with given values, in the layout that a request asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lmpipe.lm.request import Request

_LIST = re.compile("outputs are:|with these keys:")
_OUTPUT = re.compile(r'^- "?(\w+)"?: ', re.M)


def asked_outputs(request: Request) -> list[str]:
    """The names of the outputs that the system turn asks for; none if it asks for a bare value."""
    return _OUTPUT.findall(_LIST.split(request.messages[0].text, maxsplit=1)[-1])


def reply_with(request: Request, values: Mapping[str, Any]) -> str:
    """Write the outputs that are asked for; `values` may have others too."""
    names, system = asked_outputs(request), request.messages[0].text
    if not names:
        [bare] = [value for name, value in values.items() if name != "reasoning"]
        return _spelled(bare)
    given = {name: values[name] for name in names}
    if "JSON object" in system:
        return json.dumps(given)
    if "[[" in system:
        return "\n\n".join(f"[[{name}]]\n{_spelled(value)}" for name, value in given.items())
    if f"<{names[0]}>" in system:
        return "\n".join(f"<{name}>{_spelled(value)}</{name}>" for name, value in given.items())
    return "\n".join(f"{name}: {_spelled(value)}" for name, value in given.items())


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
