"""`ReAct`: an agent that thinks, calls tools, and answers when it knows enough."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, get_args

from lmpipe.errors import (
    ConfigError,
    LMRequestError,
    OutputError,
    RefusalError,
)
from lmpipe.foundation.checks import check_number
from lmpipe.layouts import ToolsLayout
from lmpipe.layouts.parse_values import json_text
from lmpipe.lm.concurrency.in_order import run_in_order
from lmpipe.lm.lm import LM
from lmpipe.lm.parts import ToolSpec
from lmpipe.lm.refusals import exceeds_context
from lmpipe.modules.agents.act import Act, ToolProtocol
from lmpipe.modules.agents.act_signature import (
    ARGUMENTS,
    THOUGHT,
    TOOL,
    act_signature,
    extract_signature,
)
from lmpipe.modules.agents.actions import action_of, refused
from lmpipe.modules.agents.compaction import estimate_tokens, shorten_observations
from lmpipe.modules.agents.extraction import read_from_shorter
from lmpipe.modules.agents.module_tools import ToolLike, as_tools, modules_of, run_by_modules
from lmpipe.modules.agents.result_trajectory import set_trajectory, thoughts_of
from lmpipe.modules.agents.task_fields import checked_inputs
from lmpipe.modules.agents.task_results import DONE, made_of_arguments, made_of_reply
from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.decoding import check_decoding
from lmpipe.modules.module import Module
from lmpipe.modules.predict import P, R_co, signature_class
from lmpipe.modules.uses import Uses
from lmpipe.signatures.field_types.history import History, is_message
from lmpipe.signatures.field_types.tools import ChosenCall, Tool
from lmpipe.signatures.field_types.trajectory import FINISH, Action, AgentStep, Trajectory
from lmpipe.signatures.signature import Signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.tools.running import ERROR_LIMIT

Compact: TypeAlias = "Callable[[Trajectory, int], Trajectory | Awaitable[Trajectory]]"

_OPTIONS = ("max_steps", "protocol", "compact", "error_limit")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ReAct(Module, Generic[P, R_co]):
    """An agent: an LM that thinks, calls tools, sees their results, and answers.

    In each step the predictor `act` chooses the next calls. LMs that are known to take tools are
    asked for native calls; several calls of one turn run at the same time. Others write one call
    as outputs of their reply (`next_thought`, `next_tool`, `next_args`). Both learn and need the
    same state. The tool `finish` has the outputs of the signature as arguments, which are checked;
    wrong arguments and errors of tools are results that the LM sees. If the steps end without an
    answer, the predictor `extract` reads it from them.

    The result is one of the signature; `lmpipe.trajectory_of(result)` gives the steps.

    Source: Yao et al. 2022, "ReAct: Synergizing Reasoning and Acting in Language Models"
    (arXiv 2210.03629), section 2.

    Args:
        signature: of the task: a `Signature` class or a string. A field of the type `History`
            holds the earlier turns of the conversation.
        tools: functions, `Tool`s, or modules, which then are parts of this agent: compiled with
            it, and called at most once in a step.
        max_steps: the maximum number of steps, 1 or more.
        protocol: `native` or `text`; `auto` takes native calls of LMs known to take tools.
        compact: makes the steps fit the LM's context, from the trajectory and the tokens that it
            may take; a function, sync or async, or a module. The default shortens the oldest
            results first.
        error_limit: the most characters of a tool's error that the LM sees.
        instruction: replaces the signature's docstring.
        layout: the prompt layout, as of `Predict`.
        constrained: constrain replies to their types while decoding, if the server can.
        lm: the LM of this agent, or its name; replaces the run's LM.
        extractor: of the layout `two-step`, as of `Predict`.
        retries: how often the LM is asked again in a step for a reply that cannot be read.
        decoding: decoding settings that replace the LM's, such as `temperature=0.7`.

    Raises:
        SignatureError: if the signature is declared wrongly, has a field with a name that
            ReAct uses, such as `trajectory`, or a tool cannot be described.
        ConfigError: if tools have equal or reserved names, or an option is out of range.
    """

    def __init__(
        self,
        signature: str | Callable[P, R_co],
        tools: Sequence[ToolLike],
        *,
        max_steps: int = 10,
        protocol: ToolProtocol = "auto",
        compact: Compact | Module = shorten_observations,
        error_limit: int = ERROR_LIMIT,
        instruction: str | None = None,
        layout: str = "chat",
        constrained: bool = True,
        lm: LM | str | None = None,
        extractor: LM | str | None = None,
        retries: int = 1,
        **decoding: Any,
    ) -> None:
        check_number("ReAct", "max_steps", max_steps, minimum=1, integer=True)
        check_number("ReAct", "error_limit", error_limit, minimum=1, integer=True)
        check_number("ReAct", "retries", retries, minimum=0, integer=True)
        check_decoding("ReAct", decoding, options=_OPTIONS)
        if protocol not in get_args(ToolProtocol):
            raise ConfigError(
                f"ReAct(protocol={protocol!r:.100}): protocol must be one of "
                f"{', '.join(map(repr, get_args(ToolProtocol)))}"
            )
        self.signature = signature_class(signature)
        self._spec = spec_of(self.signature)
        self.tools = _checked_tools(tools)
        self.max_steps = max_steps
        self.error_limit = error_limit
        self.compact = compact
        options: dict[str, Any] = {
            "instruction": instruction,
            "layout": layout,
            "constrained": constrained,
            "lm": lm,
            "extractor": extractor,
            "retries": retries,
            **decoding,
        }
        names = [tool.name for tool in self.tools]
        specs = [*map(_spec_of_tool, self.tools), _finish_tool(self._spec)]
        step = act_signature(self._spec, names)
        self.act = Act(step, tools=specs, protocol=protocol, **options)
        self.extract: ChainOfThought[..., Signature] = ChainOfThought(
            extract_signature(self.signature), **options
        )
        self.modules = modules_of(self.tools)

    def __repr__(self) -> str:
        names = ", ".join(tool.name for tool in self.tools)
        return f"ReAct({self._spec}, tools: {names or 'none'})"

    async def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the agent.

        Raises:
            CallError: if an input is missing, unknown or has the wrong type.
            OutputError: if no answer could be read from the steps; a RefusalError if the LM
                declined to go on.
            LMError: if the LM cannot be reached or refuses the request.
        """
        inputs = checked_inputs(self._spec, args, kwargs)
        acting = {**inputs, **self._earlier_turns(inputs)}
        trajectory, room = Trajectory(), self.act.room(acting)
        for _ in range(self.max_steps):
            shown = await self._fitted(trajectory, room)
            try:
                chosen = await self.act.acall(**acting, trajectory=shown)
            except RefusalError:
                raise
            except OutputError:
                break  # it is in the trace; `extract` reads the answer from the steps so far
            except LMRequestError as error:
                # The estimate was too low, which the server knows better.
                if not shown.steps or not exceeds_context(str(error)):
                    raise
                room = estimate_tokens(shown) * 2 // 3
                continue
            calls = [ChosenCall(name=chosen.next_tool, arguments=chosen.next_args)]
            actions, result = await self._run([*calls, *chosen.more_calls], inputs)
            reasoning, signature = thoughts_of(chosen)
            step = AgentStep(
                thought=chosen.next_thought,
                actions=tuple(actions),
                reasoning=reasoning,
                signature=signature,
            )
            trajectory = trajectory.add(step)
            if result is not None:
                return self._with_trajectory(result, trajectory)
            if actions[-1].tool == FINISH and not actions[-1].arguments:
                break  # it wants the answer to be read from the steps
        shown = await self._fitted(trajectory, room)
        try:
            extracted = await self.extract.acall(**inputs, trajectory=shown)
        except LMRequestError as error:
            extracted = await read_from_shorter(self.extract, inputs, shown, error)
        result = made_of_reply(self.extract.path, self.signature, inputs, extracted)
        return self._with_trajectory(result, trajectory)

    def _uses(self) -> Uses:
        if type(self).forward is not ReAct.forward:
            return super()._uses()  # a subclass may do anything
        often = self.max_steps
        return {"act": often, "modules": often, "compact": often + 1, "extract": 1}

    async def _run(
        self, calls: Sequence[ChosenCall], inputs: Mapping[str, Any]
    ) -> tuple[list[Action], Any]:
        """Run the calls of one turn; return them with their results, and the answer or None."""
        tools = {tool.name: run_by_modules(tool, self.modules) for tool in self.tools}
        others = [call for call in calls if call.name != FINISH]
        # The order of effects matters.
        functions = [tools[call.name].function for call in others if call.name in tools]
        ordered = any(function is not None and function.effects for function in functions)
        # The number of LM calls of a run is known: a module runs once in a step.
        first = {call.name: place for place, call in reversed(list(enumerate(others)))}

        async def run(place: int) -> Action:
            call = others[place]
            if call.name in self.modules and place != first[call.name]:
                return refused(call, f"call {call.name} once in a step")
            return await action_of(tools, call, error_limit=self.error_limit)

        actions = await run_in_order(
            range(len(others)),
            1 if ordered else max(len(others), 1),
            run=run,
        )
        result = None
        for call in (call for call in calls if call.name == FINISH):
            if result is None:
                action, result = self._finish(call.arguments, inputs)
                actions.append(action)
        return actions, result

    def _finish(
        self, arguments: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> tuple[Action, Any]:
        """Check the answer that the LM gives; return the result, or None if it cannot be used."""
        given = dict(arguments)
        if not given and any(field.required for field in self._spec.outputs):
            return Action(tool=FINISH, observation=DONE), None
        try:
            result = made_of_arguments(self.signature, inputs, given)
        except ValueError as error:
            return Action(tool=FINISH, arguments=given, observation=str(error), error=True), None
        return Action(tool=FINISH, arguments=given, observation=DONE), result

    def _with_trajectory(self, result: Any, trajectory: Trajectory) -> R_co:
        set_trajectory(result, trajectory)
        made: R_co = result
        return made

    async def _fitted(self, trajectory: Trajectory, room: int) -> Trajectory:
        """Make the steps fit the LM's context."""
        if not trajectory.steps or estimate_tokens(trajectory) <= room:
            return trajectory
        room = max(room, 1)
        if isinstance(self.compact, Module):
            compacting: Any = self.compact
            fitted = await compacting.acall(trajectory, room)
        else:
            fitted = self.compact(trajectory, room)
        if inspect.isawaitable(fitted):
            fitted = await fitted
        if not isinstance(fitted, Trajectory):
            raise ConfigError(f"ReAct: compact returned {fitted!r:.100}: return a Trajectory")
        return fitted

    def _earlier_turns(self, inputs: Mapping[str, Any]) -> dict[str, History]:
        """The conversations among the inputs, as an agent has them: each turn ends in `finish`."""
        return {
            name: History(turns=tuple(map(self._as_finished, inputs[name].turns)))
            for name in self._spec.histories
            if inputs[name] is not None
        }

    def _as_finished(self, turn: Mapping[str, Any]) -> dict[str, Any]:
        answer = {name: turn[name] for name in self._spec.output_names if name in turn}
        if is_message(turn) or not answer:
            return dict(turn)
        rest = {name: value for name, value in turn.items() if name not in answer}
        return {**rest, THOUGHT: "The answer is known.", TOOL: FINISH, ARGUMENTS: answer}


def _checked_tools(given: Sequence[ToolLike]) -> tuple[Tool, ...]:
    """Make tools of what a user gave, and check that they can be told apart."""
    tools = as_tools("ReAct", given)
    seen: set[str] = set()
    for tool in tools:
        remedy = "give another name: Tool.of(…, name=…), tool.named(…) or module.as_tool(name=…)"
        if tool.name == FINISH:
            raise ConfigError(f"ReAct: {FINISH!r} is the tool that gives the answer: {remedy}")
        if tool.name in seen:
            raise ConfigError(f"ReAct: two tools have the name {tool.name!r}: {remedy}")
        if not _TOOL_NAME.fullmatch(tool.name):
            raise ConfigError(
                f"ReAct: servers take tools named with up to 64 letters, digits, _ and -, and not "
                f"{tool.name!r:.100}: {remedy}"
            )
        seen.add(tool.name)
    return tools


def _spec_of_tool(tool: Tool) -> ToolSpec:
    return ToolSpec(tool.name, tool.description, json_text(tool.parameters))


def _finish_tool(task: SignatureSpec) -> ToolSpec:
    """The tool whose arguments are the outputs of the task."""
    (outputs,) = ToolsLayout().tools(task)
    return ToolSpec(FINISH, "Give the answer, which ends the task.", outputs.parameters)
