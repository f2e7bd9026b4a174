"""Results of pure tools in the reply cache: entries like those of replies.

The text of the reply is the result as JSON, and the model is `tool/NAME`, so that statistics,
pruning, export and import treat both alike.
"""

from __future__ import annotations

import re

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.tool_store import Result, ToolUse


def entry_of(use: ToolUse, result: Result) -> tuple[Request, Reply]:
    """Return the request and the reply that stand for a use of a tool and its result."""
    asked = Message("user", canonical_json(use.arguments).decode())
    model = LM("tool/" + re.sub(r"[^\w.-]", "_", use.tool))
    return Request(model, (asked,)), Reply(canonical_json(result).decode())


def load_result(reply: Reply | None) -> Result | None:
    """Return the result in a reply that `entry_of` made; None if there is none."""
    if reply is None:
        return None
    result = load_json(reply.text)
    return result if isinstance(result, dict) else None
