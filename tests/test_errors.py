"""Errors travel between processes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from lmpipe import errors
from lmpipe.errors import LmpipeError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "OutputError": {"raw": "the reply"},
    "LMError": {"status": 500, "retry_after": 1.5},
    "LMRequestError": {"status": 404},
    "LMUnavailableError": {"retry_after": 2.0},
    "DeadlineError": {"status": None},
    "ServerError": {"log": ("line",), "exit_status": -9},
}

CLASSES = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LmpipeError)
]


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("copied", [through_pickle, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_pickling_and_copying(
    kind: Callable[..., LmpipeError], copied: Callable[[Any], Any]
) -> None:
    parents = [base.__name__ for base in getattr(kind, "__mro__", ())]
    given = next((ARGUMENTS[name] for name in parents if name in ARGUMENTS), {})
    error = kind("what happened", **given)
    error.add_note("a note")
    again = copied(error)
    assert type(again) is kind
    assert (str(again), again.args) == ("what happened", ("what happened",))
    assert vars(again) == vars(error)
