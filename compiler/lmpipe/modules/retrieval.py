"""`Neighbours`: choose the demonstrations of a pool that are nearest to the inputs of a call.

If the pool has vectors, nearness is the cosine of embeddings. Otherwise it is Okapi BM25 over the
words of all inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from lmpipe.data.example import Example, jsonable
from lmpipe.data.identity import ExampleIdentity
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.media import without_media
from lmpipe.layouts import Layout, render_demo
from lmpipe.layouts.parse_values import spell
from lmpipe.lm.message import Message
from lmpipe.modules.withheld import Withheld, as_called
from lmpipe.retrieval.vector_index import VectorIndex, halves_of
from lmpipe.retrieval.word_index import WordIndex, words_in
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import Demo, Retrieval, Vectors

# Inputs are short texts of similar length, so repeated words and the length get little weight.
_K1, _B = 0.9, 0.4

_MAX_KEPT = 8

# Writes a demonstration as earlier turns of a conversation.
Render = Callable[[Layout, SignatureSpec, Demo], tuple[Message, ...]]


class Pools:
    """A cache of indexed pools, so that states with the same pool share one index.

    A search binds the same few pools many times, and an index costs about 50 µs per demonstration,
    more than a thousand queries.
    """

    def __init__(self, spec: SignatureSpec) -> None:
        self._spec = spec
        self._indexed = lru_cache(_MAX_KEPT)(partial(_Pool, spec))

    def neighbours(
        self,
        retrieval: Retrieval,
        layout: Layout,
        asked: SignatureSpec | None = None,
        *,
        render: Render = render_demo,
    ) -> Neighbours:
        """Return the neighbour search of a state with this retrieval and layout.

        `asked` is the signature with the outputs that demonstrations show, if not all; `render`
        writes them.
        """
        indexed = self._indexed(retrieval.pool, retrieval.vectors)
        return Neighbours(asked or self._spec, retrieval, layout, indexed, render=render)


class Neighbours:
    """Finds the demonstrations that are nearest to a call's inputs; built once per state.

    A demonstration that holds the call's answer, as `Withheld` finds it, is never shown: an
    example must not find itself in the pool, or scores on the pool's own rows would be too high.

    Queries do not change it: the same inputs give the same demonstrations, from any thread and in
    any order of calls.

    Attributes:
        vectors: the pool's embeddings; with them, a query needs the embedding of its inputs.
    """

    def __init__(
        self,
        spec: SignatureSpec,
        retrieval: Retrieval,
        layout: Layout,
        indexed: _Pool | None = None,
        *,
        render: Render = render_demo,
    ) -> None:
        self._spec, self._layout, self._k = spec, layout, retrieval.k
        self._render = render
        self._pool = indexed or _Pool(spec, retrieval.pool, retrieval.vectors)
        self.vectors = retrieval.vectors
        self._labels = _labels(spec, retrieval.pool) if retrieval.balanced else None
        self._turns: dict[int, tuple[Message, ...]] = {}

    @property
    def pool(self) -> tuple[Demo, ...]:
        """The demonstrations that are searched."""
        return self._pool.demos

    def nearest(
        self,
        inputs: Mapping[str, Any],
        vector: str | None = None,
        example: ExampleIdentity | None = None,
    ) -> tuple[Demo, ...]:
        """Find the nearest demonstrations, in the order in which they are shown: nearest last.

        Demonstrations that are equally near are ranked in the pool's order. Inputs without a word
        in common with the pool are equally far from all of it. The inputs are JSON values with
        defaults filled in; the vector is the embedding of their text, if the pool has vectors; the
        example is the one that the program runs on, if any.
        """
        return tuple([self._pool.demos[place] for place in self._nearest(inputs, vector, example)])

    def turns(
        self,
        inputs: Mapping[str, Any],
        vector: str | None = None,
        example: ExampleIdentity | None = None,
    ) -> tuple[Message, ...]:
        """Render what `nearest` finds as earlier turns of the conversation."""
        turns: list[Message] = []
        for place in self._nearest(inputs, vector, example):
            turns += self.turns_of(place)
        return tuple(turns)

    def turns_of(self, place: int) -> tuple[Message, ...]:
        """Render the demonstration at a place of the pool."""
        if place not in self._turns:
            self._turns[place] = self._render(self._layout, self._spec, self._pool.demos[place])
        return self._turns[place]

    def _nearest(
        self, inputs: Mapping[str, Any], vector: str | None, example: ExampleIdentity | None
    ) -> list[int]:
        if self._labels is None:
            return self._pool.ranked(inputs, vector, example, self._k)[::-1]
        ranked = self._pool.ranked(inputs, vector, example, len(self._labels))
        return _balanced(ranked, self._k, self._labels)[::-1]


class _Pool:
    """Demonstrations, indexed to be ranked by their nearness to the inputs of a call."""

    def __init__(
        self, spec: SignatureSpec, demos: tuple[Demo, ...], vectors: Vectors | None
    ) -> None:
        self.demos, self._spec = demos, spec
        self._withheld = Withheld(spec, demos)
        inputs = self._withheld.inputs
        # A pool with vectors needs no index of words.
        self._embedded = None if vectors is None else _vector_index(vectors)
        self._index = word_index([] if vectors else [_words(spec, values) for values in inputs])

    def ranked(
        self,
        inputs: Mapping[str, Any],
        vector: str | None,
        example: ExampleIdentity | None,
        count: int,
    ) -> list[int]:
        """The positions of the nearest `count` demonstrations that may be shown, nearest first."""
        without = self._withheld.places(inputs, example)
        if self._embedded is None:
            return self._index.best(_words(self._spec, inputs), count, without)[0]
        assert vector is not None
        return self._embedded.best(halves_of(vector), count, without)[0]


class NearExamples:
    """Finds the examples whose inputs share the most words with those of another one."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = tuple(examples)
        inputs = [canonical_json(jsonable(example.inputs)) for example in examples]
        self._places = _places(inputs)
        self._index = word_index([_words_of(text) for text in inputs])

    def nearest(self, example: Example, count: int) -> list[Example]:
        """Find up to `count` examples with other inputs, nearest first."""
        asked = canonical_json(jsonable(example.inputs))
        equal = self._places.get(asked, ())
        places, _ = self._index.best(_words_of(asked), count, equal)
        return [self._examples[place] for place in places]


def word_index(documents: Sequence[Sequence[str]]) -> WordIndex:
    """Index the words of inputs, one document for each."""
    return WordIndex.of(documents, k1=_K1, b=_B)


def _vector_index(vectors: Vectors) -> VectorIndex:
    return VectorIndex(halves_of(vectors.data).reshape(-1, vectors.dimension))


def _places(keys: Iterable[bytes]) -> dict[bytes, list[int]]:
    """Map each key to all its positions."""
    places: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places


def _balanced(ranked: Sequence[int], k: int, labels: Sequence[bytes]) -> list[int]:
    """Pick `k`: first at most k / number of labels of each label, then the best of the rest."""
    most = -(-k // max(len(set(labels)), 1))
    taken: Counter[bytes] = Counter()
    chosen: list[int] = []
    passed: list[int] = []
    for rank, place in enumerate(ranked):
        if len(chosen) == k:
            break
        if taken[labels[place]] < most:
            taken[labels[place]] += 1
            chosen.append(rank)
        else:
            passed.append(rank)
    chosen += passed[: k - len(chosen)]
    return [ranked[rank] for rank in sorted(chosen)]


def _labels(spec: SignatureSpec, pool: Sequence[Demo]) -> list[bytes] | None:
    if spec.label is None:
        return None
    return [canonical_json(demo.outputs.get(spec.label)) for demo in pool]


def demo_text(spec: SignatureSpec, demo: Demo) -> str:
    """Write a demonstration's inputs as the text that is embedded."""
    return inputs_text(spec, as_called(spec, demo))


def inputs_text(spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
    """Join inputs, given as JSON values by name, to one text."""
    given = [field for field in spec.inputs if field.name in inputs]
    if spec.fields_with_parts:  # the bytes of media have no words
        inputs = without_media(inputs)
        given = [field for field in given if inputs[field.name] or not field.may_have_parts]
    return " ".join([spell(field, inputs[field.name]) for field in given])


def _words(spec: SignatureSpec, inputs: Mapping[str, Any]) -> list[str]:
    return words_in(inputs_text(spec, inputs))


def _words_of(inputs: bytes) -> list[str]:
    """The words of inputs in JSON; the bytes of media have none."""
    if b'"data":"' in inputs:
        inputs = canonical_json(without_media(load_json(inputs)))
    return words_in(inputs.decode())
