"""Whether the tools of a program can be used in a compile, known before anything is paid."""

from __future__ import annotations

from lmpipe.errors import RecipeError
from lmpipe.foundation.plural import plural
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.tool_store import ToolStore
from lmpipe.modules.binding import walk
from lmpipe.modules.module import Module
from lmpipe.signatures.field_types.tools import Tool


def check_effects(program: Module | None, store: ReplyStore | None) -> None:
    """Check that each tool with effects has a fake, or that a cassette may have its results.

    Only the tools that modules hold are known; others are refused when they are called.

    Raises:
        RecipeError: if one has neither.
    """
    if isinstance(store, ToolStore) and store.replays_tools:
        return
    tools = {tool.name: tool.function for _, tool in walk(program, Tool)}
    held = [
        name
        for name, function in tools.items()
        if function is not None and function.effects and function.fake is None
    ]
    if held:
        raise RecipeError(
            f"the program has {plural(len(held), 'tool')} with effects, which no compile runs: "
            f"{', '.join(held)}: give Tool.of(…, effects=True, fake=…) a function that takes its "
            "place, or replay a cassette that has its results (record_tools=True)"
        )
