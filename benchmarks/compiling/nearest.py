"""TF-IDF vectors for DSPy's KNNFewShot, which needs an embedder and includes none.

Needs numpy, which DSPy depends on.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WORD = re.compile(r"\w+")


class TfIdf:
    """Unit vectors of texts over the words of a corpus.

    Args:
        corpus: The texts to compute inverse document frequencies from.
    """

    def __init__(self, corpus: Sequence[str]) -> None:
        found = Counter(word for text in corpus for word in set(_words(text)))
        self.places = {word: place for place, word in enumerate(sorted(found))}
        self.weights = {
            word: math.log((1 + len(corpus)) / (1 + count)) + 1 for word, count in found.items()
        }

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed texts; returns one row per text."""
        table = np.zeros((len(texts), len(self.places)), dtype=np.float32)
        for row, text in enumerate(texts):
            for word, count in Counter(_words(text)).items():
                if word in self.places:
                    table[row, self.places[word]] = count * self.weights[word]
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        vectors: npt.NDArray[np.float32] = table / np.maximum(lengths, np.float32(1e-9))
        return vectors


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
