"""Make trajectories fit the context of an LM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import shorten_middle
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolSpec, media_in
from lmpipe.signatures.field_types.media import Medium
from lmpipe.signatures.field_types.trajectory import Action, AgentStep, Trajectory

# Few tokens are shorter than three bytes on average, so that estimates are rather too high.
_BYTES_PER_TOKEN = 3
_MEDIUM, _TURN = 1000, 8  # tokens of an image, and around each turn
_KEPT = 160  # characters of an old observation
_LEAST = 16  # tokens of an observation


def shorten_observations(trajectory: Trajectory, tokens: int) -> Trajectory:
    """Shorten the oldest observations, and then leave out the oldest steps, until the rest fits.

    What is left out is said in the text. The last step stays; its observations are shortened last.

    Args:
        trajectory: the steps so far.
        tokens: the room for them, by `estimate_tokens`.
    """
    steps = list(trajectory.steps)
    total = estimate_tokens(trajectory)
    for place in range(len(steps) - 1):
        if total <= tokens:
            break
        shorter = _shortened(steps[place], _KEPT)
        total -= _step_tokens(steps[place]) - _step_tokens(shorter)
        steps[place] = shorter
    dropped = 0
    while total > tokens and len(steps) > 1:
        total -= _step_tokens(steps.pop(0))
        dropped += 1
    if total > tokens and steps:
        actions = max(len(steps[0].actions), 1)
        bare = _step_tokens(_shortened(steps[0], 0))
        room = max((tokens - bare) // actions, _LEAST) * _BYTES_PER_TOKEN
        steps[0] = _shortened(steps[0], room)
    return Trajectory(steps=tuple(steps), left_out=trajectory.left_out + dropped)


def estimate_tokens(trajectory: Trajectory) -> int:
    """Estimate how many tokens a trajectory takes in a prompt, rather too many than too few."""
    return sum(map(_step_tokens, trajectory.steps))


def tokens_of_prompt(messages: Sequence[Message], tools: Iterable[ToolSpec] = ()) -> int:
    """Estimate how many tokens some messages and tools take, rather too many than too few."""
    media = (len(media_in(message.content)) for message in messages)
    texts = [message.shown for message in messages]
    return (
        sum(_tokens(text) + _TURN for text in texts)
        + sum(_tokens(tool.shown) for tool in tools)
        + _MEDIUM * sum(media)
    )


def _step_tokens(step: AgentStep) -> int:
    return sum(
        _tokens(f"{step.thought}{action.tool}{action.arguments_json}{action.text}")
        + 2 * _TURN
        + _MEDIUM * _media(action)
        for action in step.actions
    )


def _tokens(text: str) -> int:
    return -(-len(text.encode(errors="replace")) // _BYTES_PER_TOKEN)


def _media(action: Action) -> int:
    return sum(isinstance(part, Medium) for part in action.parts)


def _shortened(step: AgentStep, kept: int) -> AgentStep:
    actions = tuple(_shortened_action(action, kept) for action in step.actions)
    return AgentStep(thought=step.thought, actions=actions)


def _shortened_action(action: Action, kept: int) -> Action:
    text, media = action.text, _media(action)
    if len(text) <= kept and not media:
        return action
    short = shorten_middle(text, head=kept * 2 // 3, tail=kept - kept * 2 // 3)
    notes = [plural(len(text) - len(short), "character")] * (len(short) < len(text))
    notes += [plural(media, "medium", "media")] * bool(media)
    if not notes:
        return action
    note = f"({' and '.join(notes)} left out to save room)"
    observation = f"{short}\n{note}" if short else note
    if len(observation) >= len(text) and not media:
        return action  # the note would take more room than what it replaces
    return Action(
        tool=action.tool, arguments=action.arguments, observation=observation, error=action.error
    )
