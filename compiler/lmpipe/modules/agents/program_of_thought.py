"""`ProgramOfThought`: an LM writes a program, and a sandbox computes the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic

from pydantic import JsonValue

from lmpipe.errors import OutputError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.plural import plural
from lmpipe.lm.lm import LM
from lmpipe.modules.agents.code_agent import PythonCode, checked_sandbox
from lmpipe.modules.agents.code_steps import Workspace, variables_of
from lmpipe.modules.agents.result_trajectory import set_trajectory
from lmpipe.modules.agents.submission import SUBMIT, Submission, how_to_submit
from lmpipe.modules.agents.task_fields import (
    check_names,
    checked_inputs,
    input_fields,
    output_fields,
)
from lmpipe.modules.agents.task_results import made_of_reply
from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.decoding import check_decoding
from lmpipe.modules.module import Module
from lmpipe.modules.predict import P, Predict, R_co, signature_class
from lmpipe.sandbox.result import SandboxResult
from lmpipe.sandbox.sandbox import Sandbox
from lmpipe.sandbox.session import Session
from lmpipe.signatures.field_types.trajectory import AgentStep, Trajectory
from lmpipe.signatures.signature import Input, Output, make_signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec

_OPTIONS = ("max_attempts", "sandbox", "output_chars")
_NAMES = frozenset({"code", "earlier_code", "error", "output", "reasoning", SUBMIT})


class ProgramOfThought(Module, Generic[P, R_co]):
    """Answers by a program: the LM writes code, and a sandbox runs it.

    The predictor `write` writes a program, in which the inputs are variables and
    `submit(answer=…)` gives the outputs; they are checked like a reply. While a program fails,
    `mend` writes another one. If a program runs to its end without giving outputs, `answer` reads
    them from what it printed.

    The result is one of the signature; `lmpipe.trajectory_of(result)` gives the programs.

    Source: Chen et al. 2022, "Program of Thoughts Prompting" (arXiv 2211.12588), section 2.

    Args:
        signature: of the task: a `Signature` class or a string.
        max_attempts: the maximum number of programs, 1 or more.
        sandbox: where the programs run; `MontySandbox()` by default.
        output_chars: the most characters of a program's output that the LM sees.
        instruction: replaces the signature's docstring.
        layout: the prompt layout, as of `Predict`.
        constrained: constrain replies to their types while decoding, if the server can.
        lm: the LM of this module, or its name; replaces the run's LM.
        retries: how often the LM is asked again for a reply that cannot be read.
        decoding: decoding settings that replace the LM's, such as `temperature=0.7`.

    Raises:
        SignatureError: if the signature is declared wrongly, or has a field of a name that the
            module uses, such as `code`.
        ConfigError: if an option is out of range.
    """

    def __init__(
        self,
        signature: str | Callable[P, R_co],
        *,
        max_attempts: int = 3,
        sandbox: Sandbox | None = None,
        output_chars: int = 4000,
        instruction: str | None = None,
        layout: str = "chat",
        constrained: bool = False,
        lm: LM | str | None = None,
        retries: int = 1,
        **decoding: Any,
    ) -> None:
        owner = type(self).__name__
        check_decoding(owner, decoding, options=_OPTIONS)
        check_number(owner, "max_attempts", max_attempts, minimum=1, integer=True)
        check_number(owner, "output_chars", output_chars, minimum=100, integer=True)
        self.signature = signature_class(signature)
        self._spec = spec_of(self.signature)
        check_names(owner, self._spec, _NAMES)
        self.max_attempts = max_attempts
        self.output_chars = output_chars
        self.sandbox = checked_sandbox(owner, sandbox)
        options: dict[str, Any] = {
            "layout": layout,
            "constrained": constrained,
            "lm": lm,
            "retries": retries,
            **decoding,
        }
        task = self._spec.instruction if instruction is None else instruction
        how = _how_to_write(self._spec, self.sandbox)
        self.write = ChainOfThought(_write_signature(self._spec, task, how), **options)
        self.mend = ChainOfThought(_mend_signature(self._spec, task, how), **options)
        self.answer = Predict(_answer_signature(self._spec, task), **options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._spec})"

    async def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Write programs until one gives the outputs.

        Raises:
            CallError: if an input is missing, unknown or has the wrong type.
            OutputError: if every program failed, or a reply could not be read.
            ConfigError: if the sandbox is not installed.
            LMError: if the LM cannot be reached or refuses the request.
        """
        inputs = checked_inputs(self._spec, args, kwargs)
        submission = Submission(self.signature, inputs)
        steps: list[AgentStep] = []
        async with self.sandbox.session({SUBMIT: submission.submit}) as session:
            variables = variables_of(self._spec, inputs)
            written = await self.write.acall(**inputs)
            step, ran = await self._run(session, variables, written)
            steps.append(submission.noted(step))
            for _ in range(1, self.max_attempts):
                if submission.result is not None or ran.ok:
                    break
                error = _observed(step)
                written = await self.mend.acall(**inputs, earlier_code=written.code, error=error)
                step, ran = await self._run(session, variables, written)
                steps.append(submission.noted(step))
        result: Any = submission.result
        if result is None:
            self._check_ran(ran, written.code)
            reply = await self.answer.acall(**inputs, code=written.code, output=_observed(step))
            result = made_of_reply(self.answer.path, self.signature, inputs, reply)
        set_trajectory(result, Trajectory(steps=tuple(steps)))
        answer: R_co = result
        return answer

    async def _run(
        self, session: Session, variables: Mapping[str, JsonValue], written: Any
    ) -> tuple[AgentStep, SandboxResult]:
        """Run a program; its inputs are as given, whatever an earlier one did to them."""
        space = Workspace(session, variables, self.output_chars)
        return await space.run(written.reasoning, written.code)

    def _check_ran(self, ran: SandboxResult, code: str) -> None:
        if not ran.ok:
            programs = plural(self.max_attempts, "program")
            raise OutputError(
                f"{self._spec.name}: none of {programs} ran to its end\n  the last one: "
                f"{ran.error}\n  signature: {self._spec}",
                raw=code,
            )


def _observed(step: AgentStep) -> str:
    return step.actions[0].text


def _how_to_write(spec: SignatureSpec, sandbox: Sandbox) -> str:
    return (
        "a Python program that computes the outputs. The inputs are variables of their names. "
        f"{how_to_submit(spec)} {sandbox.rules}"
    )


def _write_signature(spec: SignatureSpec, task: str, how: str) -> Any:
    instruction = f"{task}\n\nWrite a program that computes it."
    fields = {**input_fields(spec), "code": (PythonCode, Output(desc=how))}
    return make_signature(f"{spec.name}Program", instruction, fields)


def _mend_signature(spec: SignatureSpec, task: str, how: str) -> Any:
    instruction = f"{task}\n\nAn earlier program failed. Write one that works."
    fields = {
        **input_fields(spec),
        "earlier_code": (PythonCode, Input(desc="the program that failed")),
        "error": (str, Input(desc="what it printed, and its error")),
        "code": (PythonCode, Output(desc=how)),
    }
    return make_signature(f"{spec.name}MendedProgram", instruction, fields)


def _answer_signature(spec: SignatureSpec, task: str) -> Any:
    instruction = f"{task}\n\nA program has computed it: read the outputs from what it printed."
    fields = {
        **input_fields(spec),
        "code": (PythonCode, Input(desc="the program")),
        "output": (str, Input(desc="what it printed")),
        **output_fields(spec),
    }
    return make_signature(f"{spec.name}Answer", instruction, fields)
