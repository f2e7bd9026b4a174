"""`ActPrompt`: the messages that ask an agent for its next step.

The steps so far are turns of the conversation: each call as the LM would write it, and its result
after it. So servers reuse what they know of them, and an LM sees its own form of a reply.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

from lmpipe.data.identity import ExampleIdentity
from lmpipe.foundation.exact_json import load_json
from lmpipe.layouts import Layout, layout_named, render_demo, reply_text
from lmpipe.layouts.parse_values import json_text
from lmpipe.layouts.schema_notation import schema_notation
from lmpipe.lm.cache_key import Prefix
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import MediaPart, ReasoningPart, TextPart, ToolResult, ToolSpec
from lmpipe.lm.read_messages import media_part
from lmpipe.modules.agents.act_constraint import step_constraint
from lmpipe.modules.agents.act_signature import ARGUMENTS, THOUGHT, TOOL, TRAJECTORY, written_form
from lmpipe.modules.agents.calls_layout import CallsLayout, call_turns, tool_call
from lmpipe.modules.missing_outputs import MissingOutputs
from lmpipe.modules.prompt import Opening, Prompt, extraction_prefix, with_text
from lmpipe.modules.retrieval import Pools
from lmpipe.modules.unanswered import NeedOfTools
from lmpipe.signatures.field_types.trajectory import FINISH, Action, Trajectory
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import Demo, PredictorState, to_plain

# Small LMs make up arguments that they do not know, and what they are asked to know.
_GROUNDED = (
    "Take the arguments of a call from the inputs and from earlier results, and never guess them: "
    "if one is not known, first call the tool that tells it. Do not repeat a call. As soon as you "
    f"know the answer, call {FINISH}."
)
_STEPS = (
    "Work in steps. In each step, write what is needed next for the answer, and call one of the "
    f"tools below; you are shown its result before the next step. {_GROUNDED}"
)
_NATIVE_STEPS = (
    "Work in steps. In each step, write what is needed next for the answer, and call one or more "
    f"tools; you are shown their results. {_GROUNDED}"
)
_NEED = NeedOfTools("protocol='native'", "write ReAct(…, protocol='text')")
# What stands above the result of a call that is written as text.
RESULT, FAILED = "The result of {}:", "{} failed:"
EMPTY = "(empty)"  # servers refuse an empty text
# At temperature 0 an LM that repeats a call repeats it until the steps end, unless it is told.
REPEATED = (
    "\n(This call was made before, with the same result. Go on with it, or call another tool.)"
)


@dataclass(frozen=True)
class ActPrompt(Prompt):
    """The prompt of one step; see `Prompt`.

    Args:
        native_calls: whether tools are called natively, and not in the text of a reply.
        forced: whether an LM that called none has to call one when it is asked again.
        required: whether it has to call one at first, too.
        callable: the tools of the agent, however it calls them.
    """

    native_calls: bool = False
    forced: bool = False
    required: bool = False
    callable: tuple[ToolSpec, ...] = ()

    @staticmethod
    def of_step(
        spec: SignatureSpec,
        state: PredictorState,
        pools: Pools,
        tools: tuple[ToolSpec, ...],
        *,
        native: bool,
    ) -> ActPrompt:
        """Render the prompt of a state for an agent with these tools, `finish` among them."""
        base = layout_named(state.layout)
        names = tuple(tool.name for tool in tools)
        layout: Layout = CallsLayout(base, names) if native else base
        spec = spec.described(state.descriptions)
        asked = written_form(spec, native=native)
        form = asked.written
        how = _NATIVE_STEPS if native else f"{_STEPS}\n\nThe tools:\n{described_tools(tools)}"
        instruction = f"{state.told}\n\n{how}"
        system = Message("system", layout.system(form, instruction))
        render = partial(_render_demo, native=native)
        turns = tuple([render(layout, asked, demo) for demo in state.demos])
        chosen = None
        if state.retrieval:
            chosen = pools.neighbours(state.retrieval, layout, asked, render=render)
        return ActPrompt(
            spec,
            asked,
            form,
            layout,
            state.demos,
            turns,
            prefix=Prefix((system, *chain.from_iterable(turns))),
            constraint=step_constraint(layout, form, tools) if state.constrained else None,
            tools=tools if native else layout.tools(form),
            neighbours=chosen,
            embeds=chosen is not None and chosen.vectors is not None,
            extraction=extraction_prefix(layout, form, instruction),
            native_calls=native,
            forced=state.constrained,
            callable=tools,
        )

    @cached_property
    def tool_choice(self) -> str:
        if self.native_calls:
            return "required" if self.required else "auto"
        return self.tools[0].name if self.tools else ""

    @cached_property
    def retry_constraint(self) -> Constraint | None:
        if self.constraint is not None:
            return self.constraint
        return step_constraint(self.layout, self.form, self.callable)

    def choice_again(self, lm: LM) -> str:
        # At first an LM may choose, because many write no thought before a call that is required.
        # Those that think by themselves refuse to be forced.
        takes = lm.accepts("tool_choice") is not False and not lm.thinks
        return "required" if self.native_calls and self.forced and takes else self.tool_choice

    def missing(self, text: str, before: MissingOutputs | None = None) -> None:
        """The parts of a step depend on each other: all of it is asked for again."""
        return

    @property
    def need_of_tools(self) -> NeedOfTools:
        return _NEED if self.native_calls else super().need_of_tools

    @cached_property
    def without_neighbours(self) -> ActPrompt:
        """The prompt without the demonstrations that are chosen by an embedder."""
        return replace(self, neighbours=None, embeds=False) if self.embeds else self

    def opening(
        self,
        shown: Mapping[str, Any],
        vector: str | None = None,
        example: ExampleIdentity | None = None,
    ) -> Opening:
        """Render the messages of a step: those of the question, then the steps so far."""
        opening = super().opening(shown, vector, example)
        trajectory = Trajectory.model_validate(shown[TRAJECTORY])
        steps = trajectory_turns(self.layout, self.form, trajectory, native=self.native_calls)
        steps = tuple(map(self._checked_turn, steps))
        *before, question = opening.messages
        return Opening(opening.prefix, (*before, _with_note(question, trajectory), *steps))


def trajectory_turns(
    layout: Layout,
    form: SignatureSpec,
    trajectory: Trajectory,
    *,
    native: bool,
    of: str = "",
) -> tuple[Message, ...]:
    """Write the steps so far as turns of the conversation.

    `of` is the demonstration that they belong to, if any: calls in one conversation need different
    ids, and providers recognise only the thoughts of the conversation itself.
    """
    turns: list[Message] = []
    shown = _Shown()
    for number, step in enumerate(trajectory, start=trajectory.left_out):
        if native:
            calls = [
                tool_call((of, number, place), action.tool, action.arguments)
                for place, action in enumerate(step.actions)
            ]
            results = [
                ToolResult(call.id, shown.observation(action), action.error)
                for call, action in zip(calls, step.actions, strict=True)
            ]
            thought = not of and (step.reasoning or step.signature)
            own = ReasoningPart(step.reasoning, step.signature) if thought else None
            turns += call_turns(step.thought, list(zip(calls, results, strict=True)), own)
            continue
        for action in step.actions:
            said = {THOUGHT: step.thought, TOOL: action.tool, ARGUMENTS: dict(action.arguments)}
            turns += layout.reply_turns(form, layout.assistant(form, said))
            turns.append(Message("user", _observed(action, shown.observation(action))))
    return tuple(turns)


def _render_demo(
    layout: Layout, asked: SignatureSpec, demo: Demo, *, native: bool
) -> tuple[Message, ...]:
    """Render a demonstration of a step: its inputs, the steps before it, and the reply."""
    given = to_plain(demo.inputs)
    trajectory = Trajectory.model_validate(given.pop(TRAJECTORY, {}))
    form = asked.written
    turns = render_demo(layout, asked, Demo(inputs=given, outputs=demo.outputs))
    reply = layout.reply_turns(form, reply_text(layout, asked, demo.outputs))
    *before, question = turns[: -len(reply)]
    steps = trajectory_turns(layout, form, trajectory, native=native, of=demo.hash)
    return (*before, _with_note(question, trajectory), *steps, *reply)


def _with_note(question: Message, trajectory: Trajectory) -> Message:
    """Say in the question that steps are left out."""
    if not trajectory.note:
        return question
    note = f"\n\n{trajectory.note}"
    if isinstance(question.content, str):
        return Message(question.role, question.content + note)
    return Message(question.role, with_text(question.content, note))


class _Shown:
    """Writes the results of the calls of a trajectory, and says of which it is a repetition."""

    def __init__(self) -> None:
        self._earlier: set[Action] = set()

    def observation(self, action: Action) -> str | tuple[TextPart | MediaPart, ...]:
        note = REPEATED if action in self._earlier else ""
        self._earlier.add(action)
        if isinstance(action.observation, str):
            return f"{action.observation or EMPTY}{note}"
        parts = (TextPart(p) if isinstance(p, str) else media_part(p) for p in action.parts)
        return (*parts, TextPart(note)) if note else tuple(parts)


def _observed(
    action: Action, observation: str | tuple[TextPart | MediaPart, ...]
) -> str | tuple[TextPart | MediaPart, ...]:
    """The turn of the user that shows the result of a call."""
    head = (FAILED if action.error else RESULT).format(action.tool)
    if isinstance(observation, str):
        return f"{head}\n{observation}"
    return (TextPart(f"{head}\n"), *observation)


def described_tools(tools: Iterable[ToolSpec]) -> str:
    """Describe tools and their arguments to an LM."""
    return "\n".join(map(_described_tool, tools))


def _described_tool(tool: ToolSpec) -> str:
    schema = load_json(tool.parameters)
    arguments = "none, written as {}"
    if schema.get("properties"):
        arguments = schema_notation(schema) or json_text(schema)
    about = f"- {tool.name}: {tool.description}\nArguments: {arguments}"
    lines = (line.rstrip() for line in about.split("\n"))
    return "\n  ".join(line for line in lines if line)
