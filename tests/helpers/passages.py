"""A small corpus for the tests of retrieval."""

from __future__ import annotations

from lmpipe.signatures.field_types.passage import Passage

CORPUS = (
    Passage("Berlin is the capital of Germany.", id="berlin", title="Berlin"),
    Passage("The Tiber flows through Rome.", id="tiber", metadata={"page": 7}),
    Passage("Rome is the capital of Italy.", id="rome"),
    Passage("A parcel takes three days.", id="parcel"),
)


def ids(passages: list[Passage]) -> list[str]:
    return [passage.id for passage in passages]
