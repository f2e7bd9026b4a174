"""`CodeAct`: an agent that acts by code, in which its tools are functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lmpipe.lm.lm import LM
from lmpipe.modules.agents.act_signature import extract_signature
from lmpipe.modules.agents.code_agent import CodeAgent, step_fields
from lmpipe.modules.agents.code_steps import variables_of
from lmpipe.modules.agents.code_tools import how_to_call
from lmpipe.modules.agents.module_tools import ToolLike, modules_of
from lmpipe.modules.agents.submission import how_to_submit
from lmpipe.modules.agents.task_fields import checked_inputs, input_fields
from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.decoding import check_decoding
from lmpipe.modules.predict import P, R_co
from lmpipe.modules.uses import Uses
from lmpipe.sandbox.sandbox import Sandbox
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.signatures.signature import Signature, make_signature
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.tools.running import ERROR_LIMIT

_OPTIONS = ("max_steps", "sandbox", "output_chars", "max_module_calls", "error_limit")


class CodeAct(CodeAgent[P, R_co]):
    """An agent that acts by code: its tools are functions that the code may call.

    In each step the predictor `act` writes code, which runs in a sandbox and keeps its variables
    from step to step; the LM sees what it printed. The inputs are variables too. The code gives
    the outputs by `submit(answer=…)`, where they are checked; what is wrong is an error that the
    LM sees. If the steps end without outputs, or the LM writes no code, the predictor `extract`
    reads them from the steps. One step of code may call many tools, which takes fewer LM calls
    than `ReAct`.

    The result is one of the signature; `lmpipe.trajectory_of(result)` gives the steps.

    Source: Wang et al. 2024, "Executable Code Actions Elicit Better LLM Agents"
    (arXiv 2402.01030), section 2.

    Args:
        signature: of the task: a `Signature` class or a string.
        tools: functions, `Tool`s, or modules, which then are parts of this agent: compiled and
            counted with it.
        max_steps: the maximum number of steps, 1 or more.
        sandbox: where the code runs; `MontySandbox()` by default.
        output_chars: the most characters of a step's output that the LM sees.
        max_module_calls: the most calls of each module among the tools in one run.
        error_limit: the most characters of a tool's error that the LM sees.
        instruction: replaces the signature's docstring.
        layout: the prompt layout, as of `Predict`.
        constrained: constrain replies to their types while decoding, if the server can.
        lm: the LM of this agent, or its name; replaces the run's LM.
        retries: how often the LM is asked again in a step for a reply that cannot be read.
        decoding: decoding settings that replace the LM's, such as `temperature=0.7`.

    Raises:
        SignatureError: if the signature is declared wrongly, has a field of a name that the
            module uses, such as `code`, or a tool cannot be described.
        ConfigError: if code cannot call a tool by its name, or an option is out of range.
    """

    def __init__(
        self,
        signature: str | Callable[P, R_co],
        tools: Sequence[ToolLike],
        *,
        max_steps: int = 5,
        sandbox: Sandbox | None = None,
        output_chars: int = 4000,
        max_module_calls: int = 10,
        error_limit: int = ERROR_LIMIT,
        instruction: str | None = None,
        layout: str = "chat",
        constrained: bool = False,
        lm: LM | str | None = None,
        retries: int = 1,
        **decoding: Any,
    ) -> None:
        check_decoding(type(self).__name__, decoding, options=_OPTIONS)
        super().__init__(
            signature,
            tools=tools,
            max_steps=max_steps,
            sandbox=sandbox,
            output_chars=output_chars,
            max_module_calls=max_module_calls,
            error_limit=error_limit,
        )
        options: dict[str, Any] = {
            "layout": layout,
            "constrained": constrained,
            "lm": lm,
            "retries": retries,
            **decoding,
        }
        step = _step_signature(self._spec, self.tools, self.sandbox)
        self.act = ChainOfThought(step, instruction=instruction, **options)
        extract = extract_signature(self.signature)
        self.extract: ChainOfThought[..., Signature] = ChainOfThought(
            extract, instruction=instruction, **options
        )
        self.modules = modules_of(self.tools)

    async def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the agent.

        Raises:
            CallError: if an input is missing, unknown or has the wrong type.
            OutputError: if no outputs could be read from the steps; a RefusalError if the LM
                declined to go on.
            ConfigError: if the sandbox is not installed.
            LMError: if the LM cannot be reached or refuses the request.
        """
        inputs = checked_inputs(self._spec, args, kwargs)
        return await self._solve(inputs, inputs, variables_of(self._spec, inputs), {})

    def _uses(self) -> Uses:
        if type(self).forward is not CodeAct.forward:
            return super()._uses()  # a subclass may do anything
        return {"act": self.max_steps, "modules": self.max_module_calls, "extract": 1}


def _step_signature(spec: SignatureSpec, tools: Sequence[Tool], sandbox: Sandbox) -> Any:
    functions = f" It may call these functions: {how_to_call(tools)}" if tools else ""
    how = (
        "the next Python code to run. The inputs are variables of their names, and the variables "
        f"of earlier code are kept. Print what you want to see.{functions} {how_to_submit(spec)} "
        f"{sandbox.rules}"
    )
    fields = {**input_fields(spec), **step_fields(how)}
    return make_signature(f"{spec.name}Code", spec.instruction, fields)
