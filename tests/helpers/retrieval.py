"""Signatures and demonstration pools for the tests of retrieval."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, Literal

from hypothesis import strategies as st

from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.program_state import Demo


class Sort(Signature):
    """Sort the note."""

    note: str = Input()
    topic: Literal["tea", "ship", "tax"] = Output()


class Order(Signature):
    """Read the order."""

    text: str = Input()
    day: datetime.date | None = Input(default=None)
    price: float = Input(default=0)
    paid: bool = Output()


TOPICS = ("tea", "ship", "tax")

notes = st.text(st.sampled_from("ab cé7 -"), max_size=8) | st.text(max_size=8)
pools = st.lists(
    st.builds(
        lambda note, topic: Demo(inputs={"note": note}, outputs={"topic": topic}),
        notes,
        st.sampled_from(TOPICS),
    ),
    max_size=12,
).map(tuple)


def demos(*notes: str, topics: Sequence[str] = ("tea",)) -> tuple[Demo, ...]:
    return tuple(
        Demo(inputs={"note": note}, outputs={"topic": topics[place % len(topics)]})
        for place, note in enumerate(notes)
    )


def order(**inputs: Any) -> Demo:
    return Demo(inputs=inputs, outputs={"paid": True})
