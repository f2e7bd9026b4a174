"""Run the call of a tool that an agent chose, and keep what it returned."""

from __future__ import annotations

from collections.abc import Mapping

from lmpipe.lm.parts import MediaPart, TextPart
from lmpipe.signatures.field_types.media import Audio, File, Image
from lmpipe.signatures.field_types.tools import ChosenCall, Tool
from lmpipe.signatures.field_types.trajectory import Action, Observation
from lmpipe.tools.calls import run_call
from lmpipe.tools.outcome import ToolOutcome


async def action_of(tools: Mapping[str, Tool], call: ChosenCall, *, error_limit: int) -> Action:
    """Run a call; an unknown tool, wrong arguments and errors are observations too."""
    outcome = await run_call(call, tools, error_limit)
    return Action(
        tool=call.name,
        arguments=call.arguments,
        observation=_observation(outcome),
        error=outcome.error,
    )


def refused(call: ChosenCall, why: str) -> Action:
    """Return a call that does not run, with the reason as its result."""
    return Action(tool=call.name, arguments=call.arguments, observation=why, error=True)


def _observation(outcome: ToolOutcome) -> Observation:
    if not outcome.parts:
        return outcome.text
    return tuple(map(_typed, outcome.parts))


def _typed(part: TextPart | MediaPart) -> str | Image | Audio | File:
    if isinstance(part, TextPart):
        return part.text
    about = {"data": part.data, "url": part.url, "media_type": part.media_type}
    match part.kind:
        case "image":
            return Image.model_validate(
                {**about, **({"detail": part.detail} if part.detail else {})}
            )
        case "audio":
            return Audio.model_validate(about)
    return File.model_validate({**about, "name": part.name})
