"""Which prompt layouts suit an LM, so that searches try those first."""

from __future__ import annotations

from collections.abc import Collection

from lmpipe.lm.lm import LM

# How many layouts a search tries if it is not told which: the first that suit the LM.
TRIED_LAYOUTS = 3

# Layouts that are the same with constrained outputs as without: a tool's schema holds the call.
UNCONSTRAINED_LAYOUTS = frozenset({"tools"})

# Servers whose models are small, or not known by their names. They hold replies to a grammar.
_OWN_SERVERS = frozenset(
    {
        *("local", "scripted", "vllm", "hosted_vllm", "ollama", "ollama_chat", "llamafile"),
        "lm_studio",
    }
)
_OWN = ("chat", "plain", "json", "xml")
_HOSTED = ("chat", "json", "xml", "tools", "plain", "two-step")
_CLAUDE = ("xml", "chat", "json", "tools", "plain", "two-step")


def layouts_for(lm: LM) -> tuple[str, ...]:
    """List the layouts that suit an LM, those to try first in front.

    Claude follows tags best. A small model on a server of one's own does best with short labels,
    and with a grammar rather than with tools, which it may not know.
    """
    provider, _, model = lm.model.partition("/")
    if provider in _OWN_SERVERS:
        return _OWN
    suited = _CLAUDE if "claude" in model.casefold() else _HOSTED
    if lm.accepts("tools") is False:
        return tuple(name for name in suited if name != "tools")
    return suited


def tried_layouts(
    chosen: tuple[str, ...] | None, lm: LM, offered: Collection[str] | None = None
) -> tuple[str, ...]:
    """The layouts that a search tries: the chosen ones, or the first that suit the LM.

    `offered` are those that the program can be asked in; None for all.
    """
    if offered is None:
        return layouts_for(lm)[:TRIED_LAYOUTS] if chosen is None else chosen
    wanted = layouts_for(lm) if chosen is None else chosen
    return tuple([name for name in wanted if name in offered]) or tuple(sorted(offered))
