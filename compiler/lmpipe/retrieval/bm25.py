"""`BM25`: find passages by the words that they share with a query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmpipe.errors import ArtifactError, ConfigError
from lmpipe.foundation.checks import check_number
from lmpipe.retrieval.corpus import Corpus, read_corpus
from lmpipe.retrieval.index_folder import load_index, save_index
from lmpipe.retrieval.word_index import WordIndex, words_in
from lmpipe.signatures.field_types.passage import Passage

if TYPE_CHECKING:
    import numpy.typing as npt

_KIND = "bm25"
_ARRAYS = ("starts", "places", "weights")


@dataclass(frozen=True, init=False, eq=False)
class BM25:
    """Finds passages by the words that they share with a query; it asks no LM.

    Passages without a common word are not found, so a search may find fewer than `k`. Titles are
    searched like texts. Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework:
    BM25 and Beyond", 2009, section 3.4; as computed by `bm25s`.

    Args:
        corpus: passages, documents, texts or mappings, or the path of a JSONL file of mappings.
        k1: how much a repeated word counts, above 0.
        b: how much less a word counts in a long passage, from 0 to 1.
        words: splits a text into words, for example to stem them; by default at what is neither a
            letter nor a digit, regardless of case.

    Raises:
        DataError: if the corpus is empty, an item is not a passage, or an id occurs twice.
        ConfigError: if a number is out of range.
    """

    passages: tuple[Passage, ...] = field(repr=False)
    k1: float
    b: float
    words: Callable[[str], Sequence[str]] = field(repr=False)
    _index: WordIndex = field(repr=False)

    def __init__(
        self,
        corpus: Corpus,
        *,
        k1: float = 1.5,
        b: float = 0.75,
        words: Callable[[str], Sequence[str]] = words_in,
    ) -> None:
        check_number("BM25", "k1", k1, above=0)
        check_number("BM25", "b", b, minimum=0, maximum=1)
        passages = read_corpus(corpus)
        split = [words(searched_text(passage)) for passage in passages]
        self._set(passages, k1, b, words, WordIndex.of(split, k1=k1, b=b))

    def _set(
        self,
        passages: tuple[Passage, ...],
        k1: float,
        b: float,
        words: Callable[[str], Sequence[str]],
        index: WordIndex,
    ) -> None:
        values = {"passages": passages, "k1": k1, "b": b, "words": words, "_index": index}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def search(self, queries: Sequence[str], /, *, k: int) -> list[list[Passage]]:
        """Find the at most `k` best passages for each query, best first."""
        return [self._search(query, k) for query in queries]

    def _search(self, query: str, k: int) -> list[Passage]:
        places, scores = self._index.best(self.words(query), k)
        return [
            replace(self.passages[place], score=score)
            for place, score in zip(places, scores, strict=True)
            if score > 0
        ]

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder, as JSON and arrays; `words` is not written.

        Raises:
            StorageError: if it cannot be written.
        """
        index, own = self._index, self.words is not words_in
        settings = {"k1": self.k1, "b": self.b, "words": list(index.words), "own_words": own}
        arrays = {name: getattr(index, name) for name in _ARRAYS}
        save_index(Path(folder), _KIND, settings, self.passages, arrays)

    @staticmethod
    def load(folder: str | Path, *, words: Callable[[str], Sequence[str]] | None = None) -> BM25:
        """Read an index from a folder; nothing in it is executed.

        Args:
            folder: the folder that `save` wrote.
            words: the function that the index was made with, if it was given one.

        Raises:
            ArtifactError: if the folder is damaged.
            ConfigError: if the index was made with a function for words, and none is given, or
                the other way round.
        """
        settings, passages, arrays = load_index(Path(folder), _KIND, _ARRAYS)
        if settings.get("own_words") != (words is not None):
            given = "it was made without one: leave words= out"
            missing = "give the function that it was made with as words="
            raise ConfigError(f"BM25.load({str(folder)!r}): {given if words else missing}")
        index = _read_index(Path(folder), len(passages), settings.get("words"), **arrays)
        loaded = object.__new__(BM25)
        k1, b = settings.get("k1", 0.0), settings.get("b", 0.0)
        loaded._set(passages, k1, b, words or words_in, index)
        return loaded


def searched_text(passage: Passage) -> str:
    """Return the text of a passage that a search looks at: its title and its text."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def _read_index(folder: Path, size: int, words: Any, **arrays: npt.NDArray[Any]) -> WordIndex:
    """Make the index of `size` passages from what a folder has, or raise an ArtifactError."""
    starts, places, weights = (arrays[name] for name in _ARRAYS)
    listed = isinstance(words, list) and all(isinstance(word, str) for word in words)
    fits = (
        listed
        and starts.dtype == places.dtype == "int64"
        and weights.dtype == "float64"
        and starts.ndim == places.ndim == weights.ndim == 1
        and len(starts) == len(words) + 1
        and len(places) == len(weights)
        and starts[0] == 0
        and starts[-1] == len(places)
        and not (starts[1:] < starts[:-1]).any()
        and not ((places < 0) | (places >= size)).any()
    )
    if not fits:
        raise ArtifactError(f"{folder} is damaged: its parts do not fit; save the index again")
    numbers = {word: number for number, word in enumerate(words)}
    return WordIndex(size, numbers, starts, places, weights)
