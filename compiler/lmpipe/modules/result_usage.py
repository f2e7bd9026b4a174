"""The LM calls that each result took, kept beside its fields; `usage_of` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from lmpipe.errors import CallError
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.lm.request import Reply
from lmpipe.lm.spend import Account, Charge
from lmpipe.signatures.signature import Signature

T = TypeVar("T")

_SLOT: Any = vars(Signature)["_charges"]
# Sets the slot of a frozen result, which every call does.
set_charges = _SLOT.__set__


def with_charges(result: T, charges: Sequence[Charge]) -> T:
    """Note on a program's result what the run took, if it can be noted; return the result.

    A run without calls may return the result of an earlier one, which keeps what it took.
    """
    if not charges and hasattr(result, "_charges"):
        return result
    try:  # noqa: SIM105 - which takes longer
        set_charges(result, tuple(charges))
    except TypeError:
        pass  # another kind of value; to ask for its class takes longer too
    return result


def usage_of(result: object) -> Account:
    """Return the LM calls that a result took, with tokens and dollars.

    The result is one of a predictor or of a program that returns one; then all calls of the run
    count, retries and the programs that it called among them. Cached calls count as calls, but
    not as fresh ones.

    Returns:
        The account: `usage_of(answer).total`, `.by_lm["<model>"]`, `.by_predictor["<path>"]`;
        printed, it has a line for each LM.

    Raises:
        CallError: if it is not known: the result is a plain value, a copy, or was pickled, or no
            program made it.
    """
    if not isinstance(result, Signature):
        more = "its tokens are in reply.usage; or " if isinstance(result, Reply) else ""
        raise CallError(
            f"usage_of({repr_without_data(result, 100)}): only results with outputs as fields know "
            f"their usage; {more}make the call in `with lmpipe.track_usage() as usage:`"
        )
    try:
        charges: tuple[Charge, ...] = _SLOT.__get__(result)
    except AttributeError:
        raise CallError(
            f"usage_of({repr_without_data(result, 100)}): its usage is not known: it is a copy, "
            "was pickled, or was made by hand; ask for the usage of the object that the program "
            "returned, or make the call in `with lmpipe.track_usage() as usage:`"
        ) from None
    account = Account()
    account.charge(charges)
    return account
