"""`RecursiveLM`: an LM that works on a long input by code, and asks LMs about parts of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lmpipe.errors import OutputError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.plural import plural
from lmpipe.lm.lm import LM
from lmpipe.modules.agents.code_agent import CodeAgent, step_fields
from lmpipe.modules.agents.code_steps import described_variables, variables_of
from lmpipe.modules.agents.code_tools import how_to_call
from lmpipe.modules.agents.module_tools import ToolLike, modules_of
from lmpipe.modules.agents.submission import how_to_submit
from lmpipe.modules.agents.task_fields import checked_inputs, output_fields
from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.decoding import check_decoding
from lmpipe.modules.predict import P, Predict, R_co
from lmpipe.modules.uses import Uses
from lmpipe.modules.voting import run_members
from lmpipe.sandbox.sandbox import Sandbox
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.signatures.field_types.trajectory import Trajectory
from lmpipe.signatures.signature import Input, Output, Signature, make_signature
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.tools.running import ERROR_LIMIT

QUERY, BATCH = "llm_query", "llm_query_batched"

_OPTIONS = (
    "tools",
    "max_steps",
    "max_sub_calls",
    "sub_lm",
    "sandbox",
    "output_chars",
    "max_module_calls",
    "error_limit",
)
_ADVICE = (
    "You see the inputs only through code: they are variables, which may be long. Look at their "
    "structure and at samples first, then work in small steps and look at what each one printed. "
    "Search and count by code; for what needs understanding, ask an LM about parts of the "
    "variables, and collect its answers by code. Pass long values on in variables instead of "
    "writing them again. Submit the outputs only after you have seen that they are right."
)


class SubQuery(Signature):
    """Answer the prompt."""

    prompt: str = Input()
    response: str = Output()


class RecursiveLM(CodeAgent[P, R_co]):
    """Works on inputs that are longer than a prompt can be.

    The inputs are variables in a sandbox, whose names, sizes and first characters the LM sees. In
    each step the predictor `act` writes code, which keeps its variables from step to step. The
    code may ask an LM about parts of the inputs by `llm_query(prompt)` and
    `llm_query_batched(prompts)`, which the predictor `sub` answers, and gives the outputs by
    `submit(answer=…)`, where they are checked. If the steps end without outputs, or the LM writes
    no code, the predictor `extract` reads them from the steps.

    A run makes at most `max_steps` calls of `act`, `max_sub_calls` calls of `sub` and one of
    `extract`, with their retries; budgets count all of them.

    The result is one of the signature; `lmpipe.trajectory_of(result)` gives the steps.

    Source: Zhang, Kraska and Khattab 2025, "Recursive Language Models" (arXiv 2512.24601),
    section 2; like there, the LM that answers `llm_query` has no sandbox of its own.

    Args:
        signature: of the task: a `Signature` class or a string.
        tools: further functions for the code, `Tool`s, or modules, which then are parts of this
            one: compiled and counted with it.
        max_steps: the maximum number of steps, 1 or more.
        max_sub_calls: the maximum number of prompts to the sub-LM in one run, 1 or more.
        sub_lm: the LM that answers them, or its name; if None, the LM of the run.
        sandbox: where the code runs; `MontySandbox()` by default.
        output_chars: the most characters of a step's output that the LM sees.
        max_module_calls: the most calls of each module among the tools in one run.
        error_limit: the most characters of a tool's error that the LM sees.
        instruction: replaces the signature's docstring.
        layout: the prompt layout, as of `Predict`.
        constrained: constrain replies to their types while decoding, if the server can.
        lm: the LM of this module, or its name; replaces the run's LM.
        retries: how often the LM is asked again in a step for a reply that cannot be read.
        decoding: decoding settings that replace the LM's, such as `temperature=0.7`.

    Raises:
        SignatureError: if the signature is declared wrongly, has a field of a name that the
            module uses, such as `llm_query`, or a tool cannot be described.
        ConfigError: if code cannot call a tool by its name, or an option is out of range.
    """

    def __init__(
        self,
        signature: str | Callable[P, R_co],
        *,
        tools: Sequence[ToolLike] = (),
        max_steps: int = 20,
        max_sub_calls: int = 50,
        sub_lm: LM | str | None = None,
        sandbox: Sandbox | None = None,
        output_chars: int = 10_000,
        max_module_calls: int = 10,
        error_limit: int = ERROR_LIMIT,
        instruction: str | None = None,
        layout: str = "chat",
        constrained: bool = False,
        lm: LM | str | None = None,
        retries: int = 1,
        **decoding: Any,
    ) -> None:
        owner = type(self).__name__
        check_decoding(owner, decoding, options=_OPTIONS)
        check_number(owner, "max_sub_calls", max_sub_calls, minimum=1, integer=True)
        super().__init__(
            signature,
            tools=tools,
            max_steps=max_steps,
            sandbox=sandbox,
            output_chars=output_chars,
            max_module_calls=max_module_calls,
            error_limit=error_limit,
            reserved={QUERY, BATCH},
        )
        self.max_sub_calls = max_sub_calls
        options: dict[str, Any] = {
            "layout": layout,
            "constrained": constrained,
            "lm": lm,
            "retries": retries,
            **decoding,
        }
        task = self._spec.instruction if instruction is None else instruction
        step = _step_signature(self._spec, task, self.tools, self.sandbox, max_sub_calls)
        self.act = ChainOfThought(step, **options)
        # Any text is an answer, so that nothing has to be asked again.
        self.sub = Predict(SubQuery, lm=sub_lm, retries=0)
        self.extract = ChainOfThought(_extract_signature(self._spec, task), **options)
        self.modules = modules_of(self.tools)

    async def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Work on the inputs.

        Raises:
            CallError: if an input is missing, unknown or has the wrong type.
            OutputError: if no outputs could be read from the steps; a RefusalError if the LM
                declined to go on.
            ConfigError: if the sandbox is not installed.
            LMError: if an LM cannot be reached or refuses the request.
        """
        inputs = checked_inputs(self._spec, args, kwargs)
        variables = variables_of(self._spec, inputs)
        shown = {"variables": described_variables(self._spec, variables)}
        queries = _Queries(self.sub, self.max_sub_calls)
        functions = {QUERY: queries.query, BATCH: queries.query_batched}
        return await self._solve(inputs, shown, variables, functions)

    def _uses(self) -> Uses:
        if type(self).forward is not RecursiveLM.forward:
            return super()._uses()  # a subclass may do anything
        return {
            "act": self.max_steps,
            "sub": self.max_sub_calls,
            "modules": self.max_module_calls,
            "extract": 1,
        }


@dataclass(slots=True)
class _Queries:
    """Answers the queries of one run.

    Args:
        sub: the predictor that is asked.
        limit: the most prompts.
    """

    sub: Predict[..., Any]
    limit: int
    made: int = field(default=0, init=False)

    async def query(self, prompt: object) -> str:
        """Ask for one prompt."""
        self._count([prompt])
        try:
            return await self._ask(prompt)
        except OutputError as error:
            raise RuntimeError(f"{QUERY}: {error}") from None

    async def query_batched(self, prompts: object) -> list[str]:
        """Ask for several prompts at the same time; a failure is a text that says so."""
        if not isinstance(prompts, list):
            raise TypeError(f"{BATCH} takes a list of texts")
        self._count(prompts)
        asked = [partial(self._ask_or_say, prompt) for prompt in prompts]
        answers = await run_members(asked, (), {})
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    def _count(self, prompts: Sequence[object]) -> None:
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise TypeError(f"a prompt is a text, not a {type(prompt).__name__}")
            if not prompt.strip():
                raise ValueError("a prompt is empty")
        if self.made + len(prompts) > self.limit:
            left = plural(self.limit - self.made, "prompt")
            raise RuntimeError(
                f"{left} of {self.limit} left, and {len(prompts)} were given: put several "
                "questions into one prompt, or go on by code alone"
            )
        self.made += len(prompts)

    async def _ask(self, prompt: object) -> str:
        answer: str = (await self.sub.acall(prompt=prompt)).response
        return answer

    async def _ask_or_say(self, prompt: object) -> str:
        try:
            return await self._ask(prompt)
        except OutputError as error:
            return f"(no answer: {str(error).partition(chr(10))[0]})"


def _step_signature(
    spec: SignatureSpec, task: str, tools: Sequence[Tool], sandbox: Sandbox, queries: int
) -> Any:
    further = f" {how_to_call(tools)}" if tools else ""
    asking = (
        f"{QUERY}(prompt: str) asks an LM and returns its answer as a text. "
        f"{BATCH}(prompts: list) asks for several prompts at once, which is faster, and returns "
        f"the list of answers. Together they take at most {plural(queries, 'prompt')}."
    )
    how = (
        "the next Python code to run. The variables of earlier code are kept. Print what you want "
        f"to see. {asking}{further} {how_to_submit(spec)} {sandbox.rules}"
    )
    fields = {
        "variables": (str, Input(desc="what the variables hold")),
        **step_fields(how),
    }
    return make_signature(f"{spec.name}Code", f"{task}\n\n{_ADVICE}", fields)


def _extract_signature(spec: SignatureSpec, task: str) -> Any:
    fields = {
        "variables": (str, Input(desc="what the variables hold")),
        "trajectory": (Trajectory, Input(desc="the steps that were taken to find the answer")),
        **output_fields(spec),
    }
    return make_signature(f"{spec.name}Answer", task, fields)
