"""The trajectory of the agent that gave a result, kept beside its fields."""

from __future__ import annotations

from typing import Any

from lmpipe.errors import CallError
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.signatures.field_types.trajectory import Trajectory
from lmpipe.signatures.signature import Signature

_SLOT: Any = vars(Signature)["_trajectory"]
set_trajectory = _SLOT.__set__


def trajectory_of(result: Signature) -> Trajectory:
    """Return the steps that led an agent such as `ReAct` to a result.

    Args:
        result: what the agent returned.

    Raises:
        CallError: if it is not known: no agent gave the result, or it is a copy or was pickled.
    """
    try:
        trajectory: Trajectory = _SLOT.__get__(result)
    except (AttributeError, TypeError):
        raise CallError(
            f"trajectory_of({repr_without_data(result, 100)}): its trajectory is not known: give "
            "the object that an agent such as lmpipe.ReAct returned; copies do not have it"
        ) from None
    return trajectory
