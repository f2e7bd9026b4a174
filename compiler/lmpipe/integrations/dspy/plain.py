"""The short way of the most common uses: text inputs, DSPy's chat adapter, no callbacks.

The messages and the reading of replies are the adapter's own. What is left out is what it does for
media, histories, tools, thoughts and decisions, which these uses do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from lmpipe.integrations.dspy.adapters import pieces_of_turn, remembers

# Settings of calls that ask an LM for something other than one text.
_SPECIAL_SETTINGS = frozenset({"n", "num_generations", "prediction", "tools", "tool_choice"})


@dataclass(frozen=True, slots=True)
class PlainPrompt:
    """The last turn of a predictor whose inputs are texts.

    Args:
        signature: of the predictor.
        names: its inputs, in the order of the turn.
        pieces: the text around them.
    """

    signature: Any
    names: tuple[str, ...]
    pieces: tuple[str, ...]

    def turn(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """Write the turn."""
        content = [self.pieces[0]]
        for name, piece in zip(self.names, self.pieces[1:], strict=True):
            content += (inputs[name], piece)
        return {"role": "user", "content": "".join(content)}


def plain_prompt(
    adapter: Any, declared: Any, signature: Any, config: Mapping[str, Any]
) -> PlainPrompt | None:
    """Render the last turn of a predictor around its inputs.

    None if it needs more than texts.
    """
    fields = signature.fields.values()
    plain = (
        type(declared) is dspy.Predict
        and not declared.fields
        and not _SPECIAL_SETTINGS & config.keys()
        and remembers(adapter, dspy.ChatAdapter)
        and not adapter.use_native_function_calling
        and not adapter.callbacks
        and all(field.annotation is str for field in signature.input_fields.values())
        and not any(is_special(field.annotation) for field in fields)
    )
    if not plain:
        return None
    pieces = pieces_of_turn(adapter, signature)
    # The adapter strips the turn, so that a text at its start or end would not stay as it is.
    if pieces is None or not (pieces[0] and pieces[-1]):
        return None
    return PlainPrompt(signature, tuple(signature.input_fields), pieces)


def takes(prompt: PlainPrompt, inputs: Mapping[str, Any]) -> bool:
    """Whether the inputs are the prompt's, as texts, and nobody listens to DSPy."""
    settings = dspy.settings
    return (
        inputs.keys() == set(prompt.names)
        and all(type(value) is str for value in inputs.values())
        and not settings.callbacks
        and settings.send_stream is None
    )


def is_special(annotation: Any) -> bool:
    """Whether values of a type are more than a text or JSON, such as media and histories."""
    kinds = (dspy.Type, dspy.History)
    return any(_mentions(annotation, kind) for kind in kinds)


def _mentions(annotation: Any, kind: type) -> bool:
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return issubclass(annotation, kind)
    return any(_mentions(item, kind) for item in getattr(annotation, "__args__", ()))
