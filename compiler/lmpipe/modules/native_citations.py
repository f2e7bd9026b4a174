"""Citations that an LM's provider gives by itself, in place of those that the LM writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.parts import DocumentPart
from lmpipe.lm.request import Quote
from lmpipe.signatures.citations import ids_of_sources
from lmpipe.state.program_state import PredictorState


def gives_citations(lm: LM, state: PredictorState) -> bool:
    """Whether the provider of an LM cites documents in replies to prompts of a state.

    No provider does in constrained replies and in calls of tools.
    """
    if state.constrained or state.layout in ("tools", "two-step"):
        return False
    return lm.accepts("citations") is True


def documents_in(messages: Sequence[Message]) -> list[DocumentPart]:
    """The documents in some messages, in the order in which their provider counts them."""
    contents = [item.content for item in messages if not isinstance(item.content, str)]
    return [part for content in contents for part in content if isinstance(part, DocumentPart)]


def citations_of(
    quotes: Sequence[Quote], documents: Sequence[DocumentPart], inputs: Mapping[str, Any]
) -> list[dict[str, str]]:
    """The citations of a reply, as JSON values; each names its source as `Cited` does."""
    ids = ids_of_sources(inputs.values())
    cited = [(documents[q.document], q.text) for q in quotes if q.document < len(documents)]
    found = [(ids.get((part.title, part.text), ""), text) for part, text in cited]
    return [{"id": name, "quote": text} for name, text in dict.fromkeys(found)]
