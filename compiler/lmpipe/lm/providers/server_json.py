"""Read the JSON of servers, which is not always strict."""

from __future__ import annotations

import json
from typing import Any

import orjson


def read_server_json(data: bytes) -> Any:
    """Parse JSON, or raise a ValueError.

    A byte order mark, NaN, bytes that are not UTF-8, and halves of characters are accepted:
    they may be in a part that nobody reads.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode("utf-8-sig", "replace"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
