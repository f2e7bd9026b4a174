"""DSPy's adapters, which write what all calls of a predictor share only once."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import dspy

from lmpipe.integrations.dspy.subclasses import subclass_with

# Those whose prefix depends on the signature and the demonstrations alone.
_KNOWN = (dspy.ChatAdapter, dspy.JSONAdapter, dspy.XMLAdapter)
_MOST_PREFIXES = 64


class RememberedPrefix:
    """What a copy of an adapter remembers: system turns, and turns of demonstrations.

    It is mixed into a subclass of the adapter's own class; see `subclass_with`.
    """

    _lmpipe_systems: weakref.WeakKeyDictionary[Any, str]
    _lmpipe_demos: dict[tuple[int, ...], tuple[Any, ...]]

    def format_system_message(self, signature: Any) -> str:
        known = self._lmpipe_systems.get(signature)
        if known is None:
            above: Any = super()
            known = self._lmpipe_systems[signature] = above.format_system_message(signature)
        return known

    def format_demos(self, signature: Any, demos: Sequence[Any]) -> list[Any]:
        if not demos:
            return []
        key = (id(signature), *map(id, demos))
        known = self._lmpipe_demos.get(key)
        if known is None:
            above: Any = super()
            if len(self._lmpipe_demos) >= _MOST_PREFIXES:
                self._lmpipe_demos.clear()
            # The objects are kept, so that no other ones get their ids.
            known = (above.format_demos(signature, demos), signature, tuple(demos))
            self._lmpipe_demos[key] = known
        return [dict(turn) for turn in known[0]]


def configured_adapter() -> Any:
    """Return the adapter that DSPy is configured with, or its default."""
    return dspy.settings.adapter or dspy.ChatAdapter()


def pieces_of_turn(adapter: Any, signature: Any) -> tuple[str, ...] | None:
    """Return the texts before, between and after the inputs in the last turn of a prompt.

    None if the turn does not have each input once as it is, in the order of the signature.
    """
    places = {name: f"\ufdd0{number}\ufdd1" for number, name in enumerate(signature.input_fields)}
    rest = adapter.format_user_message_content(signature, places, main_request=True)
    pieces = []
    for place in places.values():
        piece, found, rest = rest.partition(place)
        if not found:
            return None
        pieces.append(piece)
    return *pieces, rest


def remembering(adapter: Any) -> Any:
    """Return a copy of one of DSPy's adapters that remembers; another one is returned itself."""
    adapter = dspy.ChatAdapter() if adapter is None else adapter
    if type(adapter) not in _KNOWN:
        return adapter
    made = object.__new__(_remembering_class(type(adapter)))
    vars(made).update(vars(adapter))
    made._lmpipe_systems, made._lmpipe_demos = weakref.WeakKeyDictionary(), {}
    return made


def with_lms(adapter: Any, bridge: Callable[[Any], Any]) -> Any:
    """Return an adapter whose own LMs are bridged, such as one that reads the outputs by an LM."""
    own = {name: lm for name, lm in vars(adapter).items() if isinstance(lm, dspy.BaseLM)}
    if not own:
        return adapter
    made = copy.copy(adapter)
    vars(made).update({name: bridge(lm) for name, lm in own.items()})
    return made


def remembers(adapter: Any, kind: type[dspy.Adapter]) -> bool:
    """Whether it is a copy, made by `remembering`, of an adapter of exactly this class."""
    return type(adapter) is _remembering_class(kind)


def _remembering_class(kind: Any) -> Any:
    made = subclass_with(RememberedPrefix, kind)
    for name in ("format", "parse"):
        # DSPy wraps these in every subclass anew, and would tell its callbacks of each call twice.
        if name in vars(made):
            delattr(made, name)
    return made
