"""Tests without an LM: cassettes, a network block, and the pytest plugin that has both.

    @pytest.mark.cassette
    def test_a_refund_goes_to_billing():
        assert route(ticket="I was charged twice").team == "billing"

`docs/testing.md` says how to record and replay. Names are imported when they are first used: the
plugin is loaded into every pytest run on a machine, and must cost nothing there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmpipe.lm.cassette import Cassette as Cassette
    from lmpipe.lm.cassette import RecordedCall as RecordedCall
    from lmpipe.lm.cassette import RecordedRequest as RecordedRequest
    from lmpipe.testing.network import block_network as block_network
    from lmpipe.testing.road import use_cassette as use_cassette

_HOMES = {
    "Cassette": "lmpipe.lm.cassette",
    "RecordedCall": "lmpipe.lm.cassette",
    "RecordedRequest": "lmpipe.lm.cassette",
    "block_network": "lmpipe.testing.network",
    "use_cassette": "lmpipe.testing.road",
}

__all__ = [*_HOMES]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lmpipe.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
