"""`output_check`: a check of a signature's outputs, beside those of their types."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lmpipe.errors import SignatureError

if TYPE_CHECKING:
    from lmpipe.signatures.signature import Signature

F = TypeVar("F", bound=Callable[[Any], bool])

_MARK = "__lmpipe_check__"
_CACHED = "__lmpipe_checks__"


@dataclass(frozen=True, slots=True)
class OutputCheck:
    """A check of a signature: the name of its method, and what an LM that fails it is told."""

    name: str
    feedback: str
    required: bool

    def passes(self, result: Signature) -> bool:
        """Whether an answer passes; an error of the method says which one it is."""
        try:
            return bool(getattr(result, self.name)())
        except Exception as error:
            error.add_note(f"raised by the check {type(result).__name__}.{self.name}")
            raise


def output_check(feedback: str, *, required: bool = True) -> Callable[[F], F]:
    """Check the outputs of a signature by one of its methods, which returns whether they pass.

    The method sees inputs and outputs. If it returns False, the LM is asked again with its answer
    and the feedback, at most `max_backtracks` times; see `Predict`.

    Args:
        feedback: what the LM is told, such as "The query must have fewer than 100 characters."
        required: whether the call fails with a CheckError if no answer passes. If not, the last
            answer is used, and counted as `unmet`.

    Raises:
        SignatureError: if the feedback is empty or no text, or a method is async.
    """
    if not isinstance(feedback, str) or not feedback.strip():
        raise SignatureError(
            f"output_check({feedback!r:.100}): give what the LM is told, as in "
            '@lmpipe.output_check("The query must have fewer than 100 characters.")'
        )

    def mark(method: F) -> F:
        name = getattr(method, "__name__", "")
        is_function = getattr(method, "__code__", None) is not None
        if not is_function or inspect.iscoroutinefunction(method):
            raise SignatureError(
                f"output_check: {name or method!r} is not a plain method: decorate a method of "
                "the signature, `def short(self) -> bool: …`"
            )
        setattr(method, _MARK, OutputCheck(name, feedback, required))
        return method

    return mark


def checks_of(signature: type[Signature]) -> tuple[OutputCheck, ...]:
    """Return a signature's checks, those of its base classes first; cached on the class."""
    found: tuple[OutputCheck, ...] | None = signature.__dict__.get(_CACHED)
    if found is None:
        names = dict.fromkeys(name for kind in reversed(signature.__mro__) for name in vars(kind))
        marks = (getattr(inspect.getattr_static(signature, name), _MARK, None) for name in names)
        found = tuple(mark for mark in marks if mark is not None)
        type.__setattr__(signature, _CACHED, found)
    return found
