"""`CodeAgent`: the loop of agents that act by code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Generic, Literal

from pydantic import JsonValue

from lmpipe.errors import ConfigError, LMRequestError, OutputError, RefusalError
from lmpipe.foundation.checks import check_number
from lmpipe.lm.refusals import exceeds_context
from lmpipe.modules.agents.code_steps import Workspace
from lmpipe.modules.agents.code_tools import checked_tools, host_functions
from lmpipe.modules.agents.compaction import estimate_tokens, shorten_observations
from lmpipe.modules.agents.extraction import read_from_shorter
from lmpipe.modules.agents.module_tools import ToolLike
from lmpipe.modules.agents.result_trajectory import set_trajectory
from lmpipe.modules.agents.submission import SUBMIT, Submission
from lmpipe.modules.agents.task_fields import check_names
from lmpipe.modules.agents.task_results import made_of_reply
from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.module import Module
from lmpipe.modules.predict import P, R_co, signature_class
from lmpipe.sandbox.host_functions import HostFunction
from lmpipe.sandbox.monty import MontySandbox
from lmpipe.sandbox.sandbox import Sandbox
from lmpipe.signatures.field_types.code import Code
from lmpipe.signatures.field_types.trajectory import Trajectory
from lmpipe.signatures.signature import Input, Output, spec_of

PythonCode = Code[Literal["python"]]

RESERVED = frozenset({"code", "reasoning", "steps_left", "trajectory", "variables", SUBMIT})


class CodeAgent(Module, Generic[P, R_co]):
    """An agent that writes code, sees its output, and writes more, until it submits the outputs.

    Subclasses have the predictors `act`, which writes the next code, and `extract`, which reads
    the outputs from the trajectory if the steps end without them.
    """

    act: ChainOfThought[..., Any]
    extract: ChainOfThought[..., Any]
    modules: dict[str, Module]

    def __init__(
        self,
        signature: str | Callable[P, R_co],
        *,
        tools: Sequence[ToolLike],
        max_steps: int,
        sandbox: Sandbox | None,
        output_chars: int,
        max_module_calls: int,
        error_limit: int,
        reserved: AbstractSet[str] = frozenset(),
    ) -> None:
        owner = type(self).__name__
        check_number(owner, "error_limit", error_limit, minimum=1, integer=True)
        check_number(owner, "max_module_calls", max_module_calls, minimum=1, integer=True)
        check_number(owner, "max_steps", max_steps, minimum=1, integer=True)
        check_number(owner, "output_chars", output_chars, minimum=100, integer=True)
        self.signature = signature_class(signature)
        self._spec = spec_of(self.signature)
        check_names(owner, self._spec, RESERVED | reserved)
        self.max_steps = max_steps
        self.output_chars = output_chars
        self.sandbox = checked_sandbox(owner, sandbox)
        fields = [field.name for field in self._spec.fields]
        self.tools = checked_tools(owner, tools, [*fields, *RESERVED, *reserved])
        self.max_module_calls = max_module_calls
        self.error_limit = error_limit

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._spec})"

    async def _solve(
        self,
        inputs: Mapping[str, Any],
        shown: Mapping[str, Any],
        variables: Mapping[str, JsonValue],
        functions: Mapping[str, HostFunction],
    ) -> R_co:
        """Let code find the outputs, or read them from its steps.

        Args:
            inputs: the checked inputs of the task.
            shown: the inputs of `act` and `extract` beside the trajectory.
            variables: that the code sees, as JSON values.
            functions: that it may call beside the tools.
        """
        submission = Submission(self.signature, inputs)
        tools = host_functions(
            self.tools,
            self.modules,
            max_module_calls=self.max_module_calls,
            error_limit=self.error_limit,
        )
        trajectory, fitting = await self._work(submission, shown, variables, {**functions, **tools})
        result: Any = submission.result
        if result is None:
            try:
                reply = await self.extract.acall(**shown, trajectory=fitting)
            except LMRequestError as error:
                reply = await read_from_shorter(self.extract, shown, fitting, error)
            result = made_of_reply(self.extract.path, self.signature, inputs, reply)
        set_trajectory(result, trajectory)
        answer: R_co = result
        return answer

    async def _work(
        self,
        submission: Submission,
        shown: Mapping[str, Any],
        variables: Mapping[str, JsonValue],
        functions: Mapping[str, HostFunction],
    ) -> tuple[Trajectory, Trajectory]:
        """Run code until it submits the outputs.

        Args:
            submission: takes the outputs.
            shown: the inputs of `act` beside those of `step_fields`.
            variables: that the code sees, as JSON values.
            functions: that it may call.

        Returns:
            The steps, and those of them that fit the LM's context.
        """
        trajectory = fitting = Trajectory()
        async with self.sandbox.session({SUBMIT: submission.submit, **functions}) as session:
            space = Workspace(session, variables, self.output_chars)
            for number in range(self.max_steps):
                left = self.max_steps - number
                try:
                    written = await self.act.acall(**shown, trajectory=fitting, steps_left=left)
                except RefusalError:
                    raise
                except OutputError:
                    break  # it is in the trace; `extract` reads the outputs from the steps so far
                except LMRequestError as error:
                    if not fitting or not exceeds_context(str(error)):
                        raise
                    fitting = shorten_observations(fitting, estimate_tokens(fitting) // 2)
                    continue
                if not written.code.strip():
                    break  # it wants the outputs to be read from the steps
                step, _ = await space.run(written.reasoning, written.code)
                step = submission.noted(step)
                trajectory, fitting = trajectory.add(step), fitting.add(step)
                if submission.result is not None:
                    break
        return trajectory, fitting


def step_fields(how: str) -> dict[str, Any]:
    """Return the fields that the signature of a step has beside the task.

    Args:
        how: what the LM is told of the code.
    """
    return {
        "trajectory": (Trajectory, Input(desc="the code so far, with its output")),
        "steps_left": (int, Input(desc="how many steps are left, with this one")),
        "code": (PythonCode, Output(desc=how)),
    }


def checked_sandbox(owner: str, sandbox: object) -> Sandbox:
    """Return the sandbox that a user gave, or the default one.

    Raises:
        ConfigError: if it is anything else.
    """
    if sandbox is None:
        return MontySandbox()
    if isinstance(sandbox, Sandbox):
        return sandbox
    raise ConfigError(
        f"{owner}(sandbox={sandbox!r:.100}): give a sandbox such as lmpipe.MontySandbox()"
    )
