"""`MultiChainComparison`: an answer from the comparison of several chains of thought."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

from lmpipe.errors import SignatureError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.checks import check_number
from lmpipe.lm.concurrency import loop
from lmpipe.lm.metering import metering
from lmpipe.lm.scope import current_scope
from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.module import Module
from lmpipe.modules.predict import P, R_co
from lmpipe.modules.recorded_apart import Apart, take_over
from lmpipe.modules.result_usage import with_charges
from lmpipe.modules.uses import Uses
from lmpipe.signatures.signature import REASONING, Input, Signature, result_to_json, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.trace import Trace

_ATTEMPTS = "attempts"
_COMPARE = (
    "Several attempts at this are given, and any of them may be wrong. Compare them, find the "
    "mistakes, and give the right outputs, which need not be those of an attempt."
)


class MultiChainComparison(Module, Generic[P, R_co]):
    """Think several times, compare the chains of thought, and answer.

    The predictor `think` draws `m` samples with their reasoning, and `compare` gets them as one
    more input, `attempts`. Both are compiled; what they learned fits any `m`. Traces have the
    chains that came to the answer only, because compiles learn from them, or all if none did.

    Source: the reflection program of arXiv 2310.03714, section 6.

    Args:
        signature: a `Signature` class, or a string such as `"question -> answer: int"`.
        m: the number of chains, 1 or more. Those that cannot be read are left out.
        instruction: replaces the signature's docstring.
        options: other arguments of `ChainOfThought`, for both predictors.

    Raises:
        SignatureError: if the signature is declared wrongly or has a field `attempts`, or an
            option is misspelled.
        ConfigError: if a number is out of range, or an option has a wrong value.
    """

    def __init__(
        self,
        signature: str | Callable[P, R_co],
        *,
        m: int = 3,
        instruction: str | None = None,
        **options: Any,
    ) -> None:
        check_number(type(self).__name__, "m", m, minimum=1, integer=True)
        self.m = m
        self.think = ChainOfThought(signature, instruction=instruction, **options)
        spec = self.think.spec
        if _ATTEMPTS in (*spec.input_names, *spec.output_names):
            raise SignatureError(
                f"{spec.name} has a field {_ATTEMPTS!r}, which is what MultiChainComparison calls "
                "the chains that it compares: rename it"
            )
        compared: type[Signature] = self.think.signature.append(
            _ATTEMPTS, Input(desc="what others thought and answered"), list[str]
        )
        told = f"{self.think.state_of().instruction}\n\n{_COMPARE}"
        self.compare: ChainOfThought[..., Any] = ChainOfThought(
            compared, instruction=told, **options
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec}, m={self.m})"

    @property
    def signature(self) -> type[Signature]:
        """The signature of its chains: the one that was given, with a `reasoning`."""
        return self.think.signature

    @property
    def spec(self) -> SignatureSpec:
        """Its inputs and outputs."""
        return spec_of(self.signature)

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Think, compare and answer.

        Raises:
            CallError: if an input is missing, unknown or has the wrong type.
            OutputError: if no chain could be read, or not the answer.
        """
        result: R_co = loop.run_sync(self._acall(*args, **kwargs))
        return result

    async def _acall(self, *args: Any, **kwargs: Any) -> Any:
        around = current_scope()
        thinking, comparing = Apart.inside(around), Apart.inside(around)
        with metering() as charges:
            try:
                with thinking.scope():
                    chains = await self.think.asamples(self.m, *args, **kwargs)
                with comparing.scope():
                    attempts = [self._written(chain) for chain in chains]
                    result = await self.compare.acall(*args, **kwargs, attempts=attempts)
                _keep_agreeing(thinking.trace, result_to_json(result))
            finally:
                take_over(around, [thinking, comparing])
        return with_charges(result, charges)

    def _written(self, chain: Any) -> str:
        """Write a chain as text: the reasoning, then each output below its name."""
        outputs = {name: getattr(chain, name) for name in self.spec.output_names}
        reasoning = str(outputs.pop(REASONING, "")).strip()
        shown = [f"{name}: {_text(result_to_json(value))}" for name, value in outputs.items()]
        return "\n".join(filter(None, [reasoning, *shown]))

    def _uses(self) -> Uses:
        return {"think": self.m, "compare": 1}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()


def _keep_agreeing(trace: Trace | None, answer: Mapping[str, Any]) -> None:
    """Leave out the chains with another answer, if any of them has this one."""
    if trace is None:
        return
    wanted = _without_reasoning(answer)
    agreeing: Sequence[Any] = [
        step for step in trace.steps if _without_reasoning(step.outputs) == wanted
    ]
    if agreeing:
        trace.steps[:] = agreeing


def _without_reasoning(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outputs.items() if name != REASONING}
