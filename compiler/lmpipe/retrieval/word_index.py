"""`WordIndex`: rank documents by the words that they share with a query.

The score is Okapi BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond", 2009, section 3.4) as `bm25s` computes it: a sum of numbers that are computed when the
index is built, so a query takes microseconds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Smaller differences of scores do not count: the order of summing floats must not change a rank.
_STEPS = 1e6

# A run of letters and digits, or one character of a script that is written without spaces.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words_in(text: str) -> list[str]:
    """Split a text into words, regardless of case and of Unicode's forms."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True, slots=True, eq=False)
class WordIndex:
    """Which documents have each word, and what that adds to their scores.

    Args:
        size: the number of documents.
        words: the number of each word of the vocabulary.
        starts: where the entries of each word begin; with the number of all entries at the end.
        places: the position of the document of each entry.
        weights: what each entry adds to its document's score.
    """

    size: int
    words: Mapping[str, int]
    starts: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @staticmethod
    def of(documents: Sequence[Sequence[str]], *, k1: float, b: float) -> WordIndex:
        """Index documents, each given as its words.

        Args:
            documents: the documents.
            k1: how much a word that is repeated in a document counts.
            b: how much less it counts in a long document, from 0 to 1.
        """
        import numpy as np

        distinct = dict.fromkeys(word for document in documents for word in document)
        words = {word: number for number, word in enumerate(distinct)}
        if not words:
            none, zero = np.zeros(0), np.zeros(1, dtype=np.int64)
            return WordIndex(len(documents), words, zero, none.astype(np.int64), none)
        import bm25s

        # Its method `index` would do the same and write to the log.
        built = bm25s.BM25(
            k1=k1, b=b, method="lucene", dtype="float64", backend="numpy", csc_backend="numpy"
        ).build_index_from_ids(
            list(range(len(words))),
            [[words[word] for word in document] for document in documents],
            show_progress=False,
        )
        starts, places = built["indptr"].astype(np.int64), built["indices"].astype(np.int64)
        return WordIndex(len(documents), words, starts, places, built["data"])

    def best(
        self, words: Sequence[str], count: int, without: Sequence[int] = ()
    ) -> tuple[list[int], list[float]]:
        """Find the `count` best documents, best first, equal ones in order.

        Args:
            words: the words of the query.
            count: how many documents to find.
            without: the positions of documents that are left out.

        Returns:
            The positions of the documents, and their scores, which are 0 without a common word.
        """
        import numpy as np

        count = min(count, self.size - len(without))
        if count < 1:
            return [], []
        scores = self._scores(words)
        steps = np.rint(scores * _STEPS).astype(np.int64)
        # Every document gets a different rank, so that partitioning has one possible result.
        ranks = steps * self.size + np.arange(self.size - 1, -1, -1, dtype=np.int64)
        ranks[list(without)] = -1
        best = np.argpartition(ranks, self.size - count)[self.size - count :]
        ordered = best[np.argsort(ranks[best])[::-1]]
        return ordered.tolist(), (steps[ordered] / _STEPS).tolist()

    def _scores(self, words: Sequence[str]) -> npt.NDArray[np.float64]:
        import numpy as np

        numbers = [self.words[word] for word in words if word in self.words]
        if not numbers:
            return np.zeros(self.size)
        spans = [slice(self.starts[number], self.starts[number + 1]) for number in numbers]
        places = np.concatenate([self.places[span] for span in spans])
        weights = np.concatenate([self.weights[span] for span in spans])
        # With weights it counts in floats, which its declaration does not say.
        return cast("npt.NDArray[np.float64]", np.bincount(places, weights, self.size))
