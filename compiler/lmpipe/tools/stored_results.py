"""`StoredResults`: the result of one use of a tool, in a cache or a cassette."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.lm.current import current_settings
from lmpipe.lm.tool_store import ToolStore, ToolUse
from lmpipe.signatures.field_types.tool_function import ToolFunction
from lmpipe.state.trace import Trace
from lmpipe.tools.outcome import ToolOutcome


@dataclass(frozen=True, slots=True)
class StoredResults:
    """Where the result of a use is looked up and kept; nowhere, if `store` is None."""

    use: ToolUse
    store: ToolStore | None

    @staticmethod
    def of(
        name: str, function: ToolFunction, arguments: Mapping[str, Any], trace: Trace | None
    ) -> StoredResults:
        """Number a use among the equal ones of its run, and name its code if the tool is pure."""
        store = current_settings().runtime.store
        use = ToolUse(name, arguments)
        if function.pure:
            use.code, use.repeat = code_of(function), 0
        if not isinstance(store, ToolStore):
            return StoredResults(use, None)
        if trace is not None and not function.pure:
            use.repeat = trace.count_use(use.cache_key)
        return StoredResults(use, store)

    def find(self) -> ToolOutcome | None:
        """Return the stored outcome, or None."""
        found = None if self.store is None else self.store.find_tool_result(self.use)
        return None if found is None else ToolOutcome.from_json(found)

    def keep(self, outcome: ToolOutcome) -> ToolOutcome:
        """Store an outcome, and return it, or the one that was recorded in the meantime.

        The cache keeps no errors: another time the tool may work.
        """
        if self.store is None:
            return outcome
        if outcome.error:
            self.use.code = ""
        kept = self.store.put_tool_result(self.use, outcome.to_json())
        return ToolOutcome.from_json(kept)


def code_of(function: ToolFunction) -> str:
    """Return what identifies the code of a pure tool: its version, else a hash of the code."""
    if isinstance(function.pure, str):
        return f"{function.source} {function.pure}"
    return function.source or code_fingerprint(function.function)
