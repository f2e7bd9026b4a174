"""`ChainOfThought`: a predictor that reasons before it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from lmpipe.modules.predict import Predict
from lmpipe.signatures.signature import Signature, with_reasoning

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmpipe.lm.lm import LM
    from lmpipe.signatures.signature import Prediction

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class ChainOfThought(Predict[P, R_co]):
    """Like `Predict`, but asks for a `reasoning` first; results have it as an attribute.

    Source: Wei et al. 2022 (arXiv 2201.11903); as a module: arXiv 2310.03714, section 3.2.
    """

    if TYPE_CHECKING:
        # As those of Predict: a checker cannot carry the string's door over to a subclass.

        @overload
        def __init__(
            self: ChainOfThought[..., Prediction],
            signature: str,
            *,
            instruction: str | None = ...,
            layout: str = ...,
            constrained: bool = ...,
            lm: LM | None = ...,
            retries: int = ...,
            **decoding: Any,
        ) -> None: ...
        @overload
        def __init__(
            self,
            signature: Callable[P, R_co],
            *,
            instruction: str | None = ...,
            layout: str = ...,
            constrained: bool = ...,
            lm: LM | None = ...,
            retries: int = ...,
            **decoding: Any,
        ) -> None: ...
        def __init__(self, signature: Any, **options: Any) -> None: ...

    def _prepare(self, signature: type[Signature]) -> type[Signature]:
        return with_reasoning(signature)
