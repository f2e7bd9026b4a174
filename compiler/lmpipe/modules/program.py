"""`Program`: any module, by what its calls take and return."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Program(Protocol[P, R_co]):
    """A module whose calls take the parameters P and return R; its `forward` is sync or async.

    For type checkers: functions that take a module tell by it what its calls return.
    """

    def acall(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Run the program from a coroutine."""
        ...
