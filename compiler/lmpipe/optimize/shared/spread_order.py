"""Order texts or vectors so that the first few of them represent all."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmpipe.modules.retrieval import word_index
from lmpipe.retrieval.vector_index import halves_of
from lmpipe.retrieval.word_index import words_in
from lmpipe.state.program_state import Vectors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Similarities are whole numbers of these steps, so that sums of them are exact: the order is then
# the same on every machine.
_STEPS = 1_000_000


def spread_order(similar: npt.NDArray[np.int64]) -> list[int]:
    """Order items by how much each one adds to what those before it represent.

    An item is represented as well as it resembles the most similar chosen one. Each next item
    raises the sum over all items most; of equal ones, the earliest is next.

    Source: greedy maximization of the facility location function, as in Wei et al., "Submodularity
    in Data Subset Selection and Active Learning" (ICML 2015), with lazy evaluation (Minoux, 1978).

    Args:
        similar: how well the item of each row represents the item of each column, 0 or more.
    """
    import numpy as np

    represented = np.zeros(len(similar), dtype=np.int64)
    # What an item adds never grows, so only the first one has to be computed again.
    waiting = [(-int(row.sum()), place) for place, row in enumerate(similar)]
    heapq.heapify(waiting)
    order: list[int] = []
    while waiting:
        _, place = heapq.heappop(waiting)
        adds = -int(np.maximum(similar[place] - represented, 0).sum())
        if waiting and (adds, place) > waiting[0]:
            heapq.heappush(waiting, (adds, place))
            continue
        order.append(place)
        represented = np.maximum(represented, similar[place])
    return order


def similar_words(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Compare texts by the words that they share, as BM25 weighs them.

    A text represents another one by its BM25 score for that one's words, as a share of the score
    that the other one has itself.
    """
    import numpy as np

    words = [words_in(text) for text in texts]
    index = word_index(words)
    similar = np.zeros((len(texts), len(texts)), dtype=np.int64)
    for place, query in enumerate(words):
        places, scores = index.best(query, len(texts))
        found = np.zeros(len(texts))
        found[places] = scores
        if found[place]:
            similar[:, place] = np.rint(np.minimum(found / found[place], 1) * _STEPS)
        similar[place, place] = _STEPS
    return similar


def similar_vectors(vectors: Vectors) -> npt.NDArray[np.int64]:
    """Compare vectors by their cosines; opposite ones are no less similar than unrelated ones."""
    import numpy as np

    rows = halves_of(vectors.data).reshape(-1, vectors.dimension).astype(np.float64)
    return np.rint(np.clip(rows @ rows.T, 0, 1) * _STEPS).astype(np.int64)
