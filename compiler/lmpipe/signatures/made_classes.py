"""Signature classes that are made at run time: equal ones are one class, and all can be pickled.

Python pickles a class by the name under which it can be imported. A class that was made from a
string, from a function or by `ChainOfThought` has none, so it is pickled as what it was made of.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T", bound=type)

# A function and its arguments, which make a class again.
Origin = tuple[Callable[..., type], tuple[Any, ...]]

_ORIGIN = "__lmpipe_origin__"

# A cache: results that arrive from another process then have the type of those made in this one.
_made: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()


def made_once(key: Hashable, make: Callable[[], T]) -> T:
    """Return the class that was made under a key while it is in use, or make it."""
    try:
        known: T | None = _made.get(key)
    except TypeError:  # an annotation that cannot be hashed
        return make()
    if known is None:
        known = _made[key] = make()
    return known


def remember_origin(made: type, origin: Callable[[], Origin]) -> None:
    """Say how a class is made again in another process."""
    type.__setattr__(made, _ORIGIN, origin)


def reduce_class(made: type) -> str | Origin:
    """Pickle a class: as what it was made of, or by its name; for `copyreg.pickle`."""
    origin: Callable[[], Origin] | None = made.__dict__.get(_ORIGIN)
    return made.__qualname__ if origin is None else origin()


def find_by_name(module: str, qualified_name: str) -> Any:
    """Return what an imported module has under a name, or None."""
    try:
        return attrgetter(qualified_name)(sys.modules[module])
    except (KeyError, AttributeError):
        return None


def not_importable(module: str, qualified_name: str) -> pickle.PicklingError:
    """Make the error for a value that another process cannot import by its name."""
    return pickle.PicklingError(
        f"{module}.{qualified_name} cannot be pickled, because it cannot be imported by that "
        "name: define it at the top level of a module"
    )
