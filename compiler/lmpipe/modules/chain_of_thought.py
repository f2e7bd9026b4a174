"""`ChainOfThought`: a predictor that reasons before it answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from lmpipe.errors import ConfigError
from lmpipe.lm.lm import LM
from lmpipe.lm.scope import current_scope
from lmpipe.modules.native_reasoning import thinks
from lmpipe.modules.predict import P, Predict, R_co
from lmpipe.modules.prompt import Prompt
from lmpipe.settings import current_settings
from lmpipe.signatures.signature import REASONING, Signature, with_reasoning


class ChainOfThought(Predict[P, R_co]):
    """Like `Predict`, but reasons first; results have the `reasoning` as an attribute.

    Most LMs are asked to write it before the other outputs. An LM that thinks by itself is not: its
    thoughts are the `reasoning`, as its provider shows them: in full, as a summary, or not at all,
    which leaves it empty. What is learned is the same in both cases, so a program that was compiled
    with one LM runs with the other.

    Source: Wei et al. 2022 (arXiv 2201.11903); as a module: arXiv 2310.03714, section 3.2.

    Args:
        native_reasoning: whether the LM's own thoughts are the reasoning; None decides by the
            LM's settings, such as `LM(…, reasoning_effort="high")`.

    The other arguments are those of `Predict`.

    Raises:
        SignatureError: if the signature is declared wrongly, or an option is misspelled.
        ConfigError: if an option has a wrong value, or `native_reasoning` is asked for and the
            signature has a `reasoning` of its own that thoughts cannot be.
    """

    def __init__(
        self,
        signature: str | Callable[P, R_co],
        *,
        native_reasoning: bool | None = None,
        instruction: str | None = None,
        layout: str = "chat",
        constrained: bool = False,
        lm: LM | str | None = None,
        extractor: LM | str | None = None,
        retries: int = 1,
        max_backtracks: int = 2,
        **decoding: Any,
    ) -> None:
        super().__init__(
            signature,
            instruction=instruction,
            layout=layout,
            constrained=constrained,
            lm=lm,
            extractor=extractor,
            retries=retries,
            max_backtracks=max_backtracks,
            **decoding,
        )
        # The LM's thoughts can be the reasoning if any text is one, and there is another output.
        texts = [field.name for field in self._spec.outputs if field.takes_any_text]
        self._takes_thoughts = REASONING in texts and len(self._spec.outputs) > 1
        if native_reasoning and not self._takes_thoughts:
            raise ConfigError(
                f"{self._spec.name}: native_reasoning=True needs a `reasoning: str` and another "
                f"output\n  signature: {self._spec}"
            )
        self.native_reasoning = native_reasoning

    def _prepare(self, signature: type[Signature]) -> type[Signature]:
        return with_reasoning(signature)

    @cached_property
    def _prompt(self) -> Prompt:
        thought = REASONING if self._takes_thoughts else ""
        return Prompt.of(self._spec, self._state, self._pools, thought=thought)

    # The LM of the last call, whether its thoughts were asked for, and the prompt that it has.
    _prompt_of_lm: tuple[LM, bool | None, Prompt] | None = None

    @cached_property
    def _native_prompt(self) -> Prompt:
        return Prompt.of(self._spec, self._state, self._pools, thought=REASONING, native=True)

    def prompt_for(self, lm: LM) -> Prompt:
        # The same LM answers most calls, so what it needs is found out only once.
        known, asked = self._prompt_of_lm, self.native_reasoning
        if known is None or known[0] is not lm or known[1] is not asked:
            native = self._takes_thoughts and (thinks(lm) if asked is None else asked)
            known = self._prompt_of_lm = lm, asked, self._prompt_with(native, self._cites(lm))
        return known[2]

    def _prompt_with(self, native: bool, cites: bool) -> Prompt:
        """The prompt for an LM that thinks by itself, and whose provider cites by itself."""
        if not cites:
            return self._native_prompt if native else self._prompt
        return Prompt.of(
            self._spec,
            self._state,
            self._pools,
            thought=REASONING if self._takes_thoughts else "",
            native=native,
            cited=self._cited,
        )

    def _prompt_now(self) -> Prompt:
        lm = self.lm or current_scope().lm or current_settings().lm
        return self.prompt_for(lm.with_settings(**self._state.decoding))
