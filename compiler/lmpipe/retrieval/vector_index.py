"""`VectorIndex`: rank vectors by their cosine with a query's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmpipe.foundation.vectors import decode_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# The largest relative error of one product of single floats.
_ROUNDING = 2.0**-23


def halves_of(text: str) -> npt.NDArray[np.float16]:
    """Decode vectors, as `foundation.vectors` encodes them, to one array of half floats."""
    import numpy as np

    return np.frombuffer(decode_bytes(text), dtype="<f2")


@dataclass(frozen=True, slots=True, eq=False)
class VectorIndex:
    """Vectors of unit length, as rows of half floats.

    Scores are exact (see `foundation.vectors`), so ranks are the same on every machine. Single
    floats, which are quicker, only choose what is computed exactly.
    """

    rows: npt.NDArray[np.float16]
    _singles: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_singles", self.rows.astype("float32"))

    def best(
        self, vector: npt.NDArray[np.float16], count: int, without: Sequence[int] = ()
    ) -> tuple[list[int], list[float]]:
        """Find the `count` nearest vectors, nearest first, equal ones in order.

        Args:
            vector: the query's.
            count: how many vectors to find.
            without: the positions of vectors that are left out.

        Returns:
            The positions of the vectors, and their cosines.
        """
        import numpy as np

        size, dimension = self.rows.shape
        count = min(count, size - len(without))
        if count < 1:
            return [], []
        about = self._singles @ vector.astype(np.float32)
        about[list(without)] = -np.inf
        # The products of a vector's numbers sum to 1 at most, and so does each rounding error.
        error = dimension * _ROUNDING
        least = np.partition(about, size - count)[size - count] - 2 * error
        near = np.flatnonzero(about >= least)
        scores = self.rows[near].astype(np.float64) @ vector.astype(np.float64)
        order = np.argsort(-scores, kind="stable")[:count]
        return near[order].tolist(), scores[order].tolist()
