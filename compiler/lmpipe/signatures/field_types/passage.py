"""`Passage`: a text that a search found, as an input of a signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from lmpipe.signatures.field_types.document import below_head


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that a search found. An LM is shown its id and its title above the text.

    Args:
        text: its content.
        id: its name in the corpus, by which answers cite it; may be empty.
        score: how well it fits the query; higher is better, and only the order has a meaning.
        title: its title; may be empty.
        metadata: what else is known of it, as JSON; an LM is not shown it.
    """

    text: str
    id: str = ""
    score: float = 0.0
    title: str = ""
    metadata: Mapping[str, JsonValue] = field(default_factory=dict, hash=False)

    def to_parts(self) -> tuple[str]:
        """Return the text of a message that shows it."""
        return (below_head(self.text, Id=self.id, Title=self.title),)

    def to_json(self) -> dict[str, JsonValue]:
        """Return its fields as JSON, without those that are empty."""
        values: dict[str, JsonValue] = {
            "text": self.text,
            "id": self.id,
            "score": self.score,
            "title": self.title,
            "metadata": dict(self.metadata),
        }
        return {name: value for name, value in values.items() if value or name == "text"}
