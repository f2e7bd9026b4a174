"""What is wrong with a reply: told to the LM that wrote it, and to the user."""

from __future__ import annotations

from typing import get_args

import pydantic
from pydantic_core.core_schema import ErrorType

from lmpipe.layouts import LayoutError
from lmpipe.signatures.signature_spec import first_problem

# The kinds of pydantic's own errors, and those of them that validators and bounds raise.
_KINDS = frozenset(get_args(ErrorType))
_CHECKS = frozenset(
    {
        "value_error",
        "assertion_error",
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
        *("multiple_of", "finite_number"),
        *("too_short", "too_long", "string_too_short", "string_too_long"),
        "string_pattern_mismatch",
        *("decimal_max_digits", "decimal_max_places", "decimal_whole_digits"),
        *("date_past", "date_future", "datetime_past", "datetime_future"),
    }
)


def fails_check(error: Exception) -> bool:
    """Whether a validator or a bound of the signature refused a value that has the right type."""
    if not isinstance(error, pydantic.ValidationError):
        return False
    kind = error.errors(include_url=False, include_input=False, include_context=False)[0]["type"]
    return kind in _CHECKS or kind not in _KINDS  # a validator may raise a kind of its own


def is_ambiguous(error: Exception) -> bool:
    """Whether a reply can be read in more than one way."""
    return isinstance(error, LayoutError) and error.ambiguous


def problem_of(error: Exception, *, rest: bool = False) -> str:
    """Say in one line what is wrong with a reply.

    How to write a whole reply instead is left out if only its `rest` is asked for.
    """
    if isinstance(error, pydantic.ValidationError):
        return first_problem(error)
    return error.problem if rest and isinstance(error, LayoutError) else str(error)
