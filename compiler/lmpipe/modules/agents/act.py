"""`Act`: the predictor that chooses the next step of an agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from lmpipe.errors import RecipeError
from lmpipe.layouts.parse_values import json_text
from lmpipe.lm.lm import DEFAULT_MAX_TOKENS, LM
from lmpipe.lm.parts import ToolSpec
from lmpipe.lm.request import Reply
from lmpipe.lm.scope import current_scope
from lmpipe.lm.stream_events import ToolCalled
from lmpipe.modules.agents.act_prompt import ActPrompt, described_tools
from lmpipe.modules.agents.act_signature import TRAJECTORY
from lmpipe.modules.agents.compaction import tokens_of_prompt
from lmpipe.modules.agents.result_trajectory import set_thoughts
from lmpipe.modules.conversation import Conversation
from lmpipe.modules.missing_outputs import MissingOutputs
from lmpipe.modules.predict import Predict
from lmpipe.modules.prompt import Prompt
from lmpipe.modules.stream import FieldReader
from lmpipe.signatures.field_types.trajectory import Trajectory
from lmpipe.signatures.signature import Prediction, Signature

ToolProtocol = Literal["auto", "native", "text"]


class _Choosing(Conversation):
    """Keeps the LM's own thoughts before native calls for the next steps."""

    def _read(
        self, reply: Reply, thoughts: str, missing: MissingOutputs | None
    ) -> tuple[Signature, bool]:
        result, repaired = super()._read(reply, thoughts, missing)
        if self.prompt.tools and (reply.reasoning or reply.signature):
            set_thoughts(result, (reply.reasoning, reply.signature))
        return result, repaired


class Act(Predict[..., Prediction]):
    """Choose the next calls of tools, from the inputs of a task and the steps so far.

    What is learned is the same whether an LM calls tools natively or writes its calls as text, so
    an agent that was compiled with one LM runs with the other.

    Args:
        signature: of a step; see `act_signature`.
        tools: that it may call, `finish` among them.
        protocol: `native`, `text`, or `auto`, which is native for LMs known to take tools.

    The other arguments are those of `Predict`.
    """

    _conversation = _Choosing

    def __init__(
        self,
        signature: type[Prediction],
        *,
        tools: Sequence[ToolSpec],
        protocol: ToolProtocol,
        **options: Any,
    ) -> None:
        super().__init__(signature, **options)
        self.tools = tuple(tools)
        self.protocol: ToolProtocol = protocol

    def prompt_for(self, lm: LM) -> ActPrompt:
        if not self.is_native(lm):
            return self._prompt
        # Small LMs, as the embedded ones are, repeat the list of tools until the limit of tokens
        # if they need not call one.
        required = lm.provider == "local" and not lm.thinks
        return self._required_prompt if required else self._native_prompt

    def is_native(self, lm: LM) -> bool:
        """Whether an LM is asked for native calls."""
        if self.protocol == "auto":
            return lm.accepts("tools") is True
        return self.protocol == "native"

    def room(self, inputs: Mapping[str, Any]) -> int:
        """Estimate how many tokens of a prompt the steps may take, beside the task's inputs."""
        lm = self.lm_now()
        prompt = self.prompt_for(lm)
        empty = {**inputs, TRAJECTORY: Trajectory()}
        shown = prompt.dump_inputs(self._spec.check_inputs(empty))
        # Demonstrations that an embedder chooses are not known before it is asked.
        messages = prompt.without_neighbours.opening(shown).messages
        reply = lm.reply_limit[1] if lm.reply_limit else DEFAULT_MAX_TOKENS
        return lm.context - reply - tokens_of_prompt(messages, prompt.tools)

    def reply(self, outputs: Mapping[str, Any]) -> str:
        # Only training asks for replies: a prompt can be rendered for any LM.
        if self.is_native(self.lm_now()):
            raise RecipeError(
                f"{self.path}: weights are trained on texts, and its LM calls tools natively: "
                "write ReAct(…, protocol='text')"
            )
        return super().reply(outputs)

    @property
    def about(self) -> str:
        return f"It may call these tools:\n{described_tools(self.tools)}"

    @cached_property
    def _prompt(self) -> ActPrompt:
        return self._rendered(native=False)

    @cached_property
    def _native_prompt(self) -> ActPrompt:
        return self._rendered(native=True)

    @cached_property
    def _required_prompt(self) -> ActPrompt:
        prompt = self._native_prompt
        return replace(prompt, required=prompt.forced)

    def _rendered(self, *, native: bool) -> ActPrompt:
        return ActPrompt.of_step(self._spec, self._state, self._pools, self.tools, native=native)

    def _prompt_now(self) -> Prompt:
        return self.prompt_for(self.lm_now())

    def _reader(self) -> FieldReader | None:
        listener = current_scope().listener
        if listener is None:
            return None
        path = listener.paths.get(id(self), self.path)
        return _ActReader(self._spec, self._prompt.layout, path, listener)


class _ActReader(FieldReader):
    """Tells of calls of tools that an LM writes as text, too."""

    def finish(self, result: Any, shown: Mapping[str, Any], replies: Sequence[Reply]) -> None:
        if not replies[-1].tool_calls:
            arguments = json_text(dict(result.next_args))
            self._listener.notify(
                ToolCalled(**self._place, name=result.next_tool, arguments=arguments)
            )
        super().finish(result, shown, replies)
