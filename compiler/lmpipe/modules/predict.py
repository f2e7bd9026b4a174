"""`Predict`: one typed question to an LM."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeAlias

from typing_extensions import ParamSpec, TypeVar

from lmpipe.errors import CallError, LMRequestError, OutputError, SignatureError
from lmpipe.foundation.checks import check_number
from lmpipe.layouts import layout_named, reply_text
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM, as_lm
from lmpipe.lm.message import Message
from lmpipe.lm.metering import metering
from lmpipe.lm.observing import listening
from lmpipe.lm.request import Reply
from lmpipe.lm.scope import Scope, check_calls, current_scope
from lmpipe.modules.conversation import Conversation, Conversing
from lmpipe.modules.decoding import Decoding, check_decoding
from lmpipe.modules.embedding import Embedding
from lmpipe.modules.module import Predictor
from lmpipe.modules.native_citations import gives_citations
from lmpipe.modules.observed import observed_use
from lmpipe.modules.prompt import Prompt
from lmpipe.modules.retrieval import Pools
from lmpipe.settings import current_settings
from lmpipe.signatures.citations import cited_output
from lmpipe.signatures.from_string import signature_from_string
from lmpipe.signatures.output_checks import checks_of
from lmpipe.signatures.signature import Prediction, Signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import PredictorState

if TYPE_CHECKING:
    from lmpipe.lm.spend import Charge
    from lmpipe.modules.stream import FieldReader
    from lmpipe.state.answers import Answer

# What a predictor keeps of its state, and of its signature, so as not to make it for every call.
_OF_THE_STATE = ("_prompt", "_citing_prompt", "_native_prompt", "_prompt_of_lm", "_decoding")
_MADE_AGAIN = (*_OF_THE_STATE, "_spec", "_checks", "_pools", "_cited")

# The vector of a call's inputs, and what it took.
Embedded: TypeAlias = "tuple[str, Sequence[Charge]]"

# A signature class is a callable from its inputs to itself. The defaults are for a signature
# string, of which type checkers know neither inputs nor outputs.
P = ParamSpec("P", default=...)
R_co = TypeVar("R_co", covariant=True, default=Prediction)


class Predict(Predictor, Generic[P, R_co]):
    """Ask an LM for the outputs of a signature.

    Args:
        signature: a `Signature` class, or a string such as `"question -> answer: int"`.
        instruction: replaces the signature's docstring.
        layout: the prompt layout: `chat`, `plain`, `json`, `xml`, `tools` or `two-step`.
        constrained: constrain the reply to the outputs' types while decoding, if the server can.
        lm: the LM of this predictor, or its name; replaces the run's LM.
        extractor: the LM, or its name, that reads the outputs from the free text of the layout
            `two-step`; if None, the LM that wrote it.
        retries: how often the LM is asked again, 0 or more: to correct a reply that cannot be
            read, or with more room for one that was cut at the limit of tokens.
        max_backtracks: how often it is asked again, 0 or more, after an answer that failed an
            `output_check` of the signature.
        decoding: decoding settings that replace the LM's, such as `temperature=0.7`.

    Raises:
        SignatureError: if the signature is declared wrongly, or an option is misspelled.
        ConfigError: if the layout is unknown, a number is out of range, or the LM is neither an
            LM nor a name.
    """

    def __init__(
        self,
        signature: str | Callable[P, R_co],
        *,
        instruction: str | None = None,
        layout: str = "chat",
        constrained: bool = False,
        lm: LM | str | None = None,
        extractor: LM | str | None = None,
        retries: int = 1,
        max_backtracks: int = 2,
        **decoding: Any,
    ) -> None:
        owner = type(self).__name__
        self.signature = self._prepare(signature_class(signature))
        self.path = self.signature.__name__
        self.lm = as_lm(lm)
        self.extractor = as_lm(extractor)
        self.retries = retries
        self.max_backtracks = max_backtracks
        self._spec = spec_of(self.signature)
        self._checks = checks_of(self.signature)
        self._pools = Pools(self._spec)  # shared by the copies that other states are bound to
        self._cited = cited_output(self.signature)
        layout_named(layout)
        check_number(owner, "retries", retries, minimum=0, integer=True)
        check_number(owner, "max_backtracks", max_backtracks, minimum=0, integer=True)
        check_decoding(owner, decoding)
        self._state = PredictorState(
            instruction=self._spec.instruction if instruction is None else instruction,
            layout=layout,
            constrained=constrained,
            decoding=decoding,
            schema_hash=self._spec.schema_hash,
        )

    # Holds its calls.
    _conversation: ClassVar[type[Conversation]] = Conversation

    # Its own `forward` notes on each result what it took; that of a subclass may do anything.
    _metered = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._metered = cls.forward is not Predict.forward

    def _prepare(self, signature: type[Signature]) -> type[Signature]:
        """Hook for subclasses: change the signature before it is read."""
        return signature

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._spec})"

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: all but what can be made again."""
        return {name: item for name, item in vars(self).items() if name not in _MADE_AGAIN}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._spec = spec_of(self.signature)
        self._checks = checks_of(self.signature)
        self._pools = Pools(self._spec)
        self._cited = cited_output(self.signature)

    @property
    def spec(self) -> SignatureSpec:
        return self._spec

    @property
    def calls_per_use(self) -> int:
        answers = 1 + self.max_backtracks if self._checks else 1
        return answers * (1 + self.retries) * (2 if self._state.layout == "two-step" else 1)

    @property
    def draws_at_once(self) -> bool:
        """Whether its samples are as many runs of it; a `forward` of its own may do anything."""
        return not self._metered

    def state_of(self) -> PredictorState:
        return self._state

    def with_state(self, state: PredictorState, path: str) -> Predict[P, R_co]:
        result = copy.copy(self)
        result.path, result._state = path, state
        for cached in _OF_THE_STATE:
            vars(result).pop(cached, None)
        return result

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Ask the LM and wait for its reply.

        Raises:
            CallError: if an input is missing, unknown or has the wrong type.
            OutputError: if no reply could be read as the outputs; a CutError if it was cut at the
                limit of tokens, and a RefusalError if the LM declined to answer.
            LMError: if the LM cannot be reached or refuses the request.
        """
        if args:
            raise self._given_by_position()
        inputs, scope, answer = self._spec.check_inputs(kwargs), current_scope(), None
        if scope.answers is not None:
            answer = scope.answers.question(self, inputs, scope.sample)
            if not answer.open:
                known: R_co = answer.result
                return known
        result: R_co
        if listening:
            with observed_use(self, inputs, scope.sample) as call:
                result = self._run(inputs, scope, answer)
                call.ends(results=(result,))
        else:
            result = self._run(inputs, scope, answer)
        return result

    async def _acall(self, *args: Any, **kwargs: Any) -> Any:
        if self._metered:  # a subclass has its own `forward`
            return await super()._acall(*args, **kwargs)
        inputs, scope = self._inputs(args, kwargs), current_scope()
        answer = None
        if scope.answers is not None:
            answer = scope.answers.question(self, inputs, scope.sample)
            if not answer.open:
                return answer.result
        if not listening:
            return await self._arun(inputs, scope, answer)
        with observed_use(self, inputs, scope.sample) as call:
            result = await self._arun(inputs, scope, answer)
            call.ends(results=(result,))
        return result

    def samples(self, n: int, /, *args: P.args, **kwargs: P.kwargs) -> list[R_co]:
        """Ask for numbered samples; those that cannot be read are left out.

        An LM that decodes greedily draws them at temperature 0.7.

        Args:
            n: how many, 1 or more.
            args: as for a call.
            kwargs: as for a call.

        Raises:
            ConfigError: if `n` is below 1.
            OutputError: if no sample could be read.
        """
        return loop.run_sync(self.asamples(n, *args, **kwargs))

    async def asamples(self, n: int, /, *args: P.args, **kwargs: P.kwargs) -> list[R_co]:
        """`samples` from a coroutine; one request draws all of them if the server can."""
        check_number("samples", "n", n, minimum=1, integer=True)
        first = current_scope().sample * n
        return await self._asamples(range(first, first + n), args, kwargs)

    async def _asamples(
        self, numbers: range, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Any]:
        """Ask for the samples of these numbers; see `asamples`."""
        inputs = self._inputs(args, kwargs)
        with observed_use(self, inputs, numbers[0]) as call:
            drawn = await self._draw(inputs, numbers)
            call.ends(results=tuple(drawn))
        return drawn

    async def _draw(self, inputs: dict[str, Any], numbers: range) -> list[Any]:
        """Return the samples of these numbers that can be read."""
        answers: Sequence[Answer | None] = [None] * len(numbers)
        if (answered := current_scope().answers) is not None:
            answers = [answered.question(self, inputs, number) for number in numbers]
        drawn: list[Any] = [answer and answer.result for answer in answers]
        missing = [place for place, item in enumerate(answers) if item is None or item.open]
        asked = [(numbers[place], answers[place]) for place in missing]
        for place, result in zip(missing, await self._ask_for(inputs, asked), strict=True):
            drawn[place] = result
        errors = [item for item in drawn if isinstance(item, BaseException)]
        # Errors other than unreadable replies are raised first.
        errors.sort(key=lambda error: isinstance(error, OutputError))
        good: list[Any] = [item for item in drawn if not isinstance(item, BaseException)]
        if errors and (not good or not isinstance(errors[0], OutputError)):
            raise errors[0]
        return good

    async def _ask_for(
        self, inputs: dict[str, Any], asked: Sequence[tuple[int, Answer | None]]
    ) -> list[Any]:
        """Ask for samples by their numbers; return what each of them gave or raised."""
        if not asked:
            return []
        embedded = await self._aembedded(inputs) if self._prompt.embeds else None
        later = embedded and (embedded[0], ())  # the first sample has the embedder's call
        scope = current_scope()
        conversations = [
            self._converse(
                inputs,
                scope,
                number,
                sampling=True,
                embedded=later if place else embedded,
                answer=answer,
            )
            for place, (number, answer) in enumerate(asked)
        ]
        requests = [next(conversation) for conversation in conversations]
        runtime = current_settings().runtime
        if any(answer and answer.earlier for _, answer in asked):  # they differ in their turns
            replies = await asyncio.gather(
                *(runtime.acomplete(request, label=self.path) for request in requests)
            )
        else:
            replies = await runtime.acomplete_samples(requests, label=self.path)
        return await asyncio.gather(
            *map(self._finish, conversations, replies), return_exceptions=True
        )

    def messages(self, **inputs: Any) -> tuple[Message, ...]:
        """Render the messages that a call with these inputs starts with.

        This asks the embedder if it chooses the demonstrations.

        Raises:
            CallError: if an input is missing, unknown or has the wrong type.
        """
        prompt, checked = self._prompt_now(), self._spec.check_inputs(inputs)
        vector = self._embedded(checked)[0] if prompt.embeds else None
        example = current_scope().example
        return prompt.opening(prompt.dump_inputs(checked), vector, example).messages

    def conversation(self, inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        prompt, embeds = self._prompt_now(), self._prompt.embeds
        vector = self._embedded(self._spec.check_inputs(dict(inputs)))[0] if embeds else None
        return prompt.opening(inputs, vector, current_scope().example).messages

    def lm_now(self) -> LM:
        """Return the LM that would answer a call, with all its settings."""
        return self._decoding.choose(self.lm, current_scope(), sampling=False)

    def prompt_for(self, lm: LM) -> Prompt:
        """Return the prompt for an LM; a hook for subclasses."""
        return self._citing_prompt if self._cited and self._cites(lm) else self._prompt

    def reply(self, outputs: Mapping[str, Any]) -> str:
        prompt = self._prompt_now()
        return reply_text(prompt.layout, prompt.asked, outputs)

    def _inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if args:
            raise self._given_by_position()
        return self._spec.check_inputs(kwargs)

    def _given_by_position(self) -> CallError:
        return CallError(f"{self._spec.name}: give inputs by name\n  signature: {self._spec}")

    @cached_property
    def _prompt(self) -> Prompt:
        return Prompt.of(self._spec, self._state, self._pools)

    @cached_property
    def _citing_prompt(self) -> Prompt:
        """The prompt for an LM whose provider cites by itself."""
        return Prompt.of(self._spec, self._state, self._pools, cited=self._cited)

    def _cites(self, lm: LM) -> bool:
        """Whether an LM's provider gives the citations that the signature asks for."""
        return bool(self._cited) and gives_citations(lm, self._state)

    def _prompt_now(self) -> Prompt:
        """Hook for subclasses: return the prompt for the LM that would answer a call."""
        return self._prompt

    @cached_property
    def _decoding(self) -> Decoding:
        return Decoding(self._state, self.path)

    def _run(self, inputs: dict[str, Any], scope: Scope, answer: Answer | None) -> Any:
        # What few calls need is asked for here, because a method call for each adds up.
        reader = None if scope.listener is None else self._reader()
        embedded = self._embedded(inputs) if self._prompt.embeds else None
        conversation = self._converse(
            inputs, scope, scope.sample, reader, embedded=embedded, answer=answer
        )
        runtime, request = current_settings().runtime, next(conversation)
        on_retry = reader.on_retry if reader else None
        while True:
            try:
                reply = runtime.complete(
                    request, label=self.path, on_text=reader, on_retry=on_retry
                )
            except LMRequestError as error:
                _throw(conversation, error)
            try:
                request = conversation.send(reply)
            except StopIteration as done:
                return done.value

    async def _arun(self, inputs: dict[str, Any], scope: Scope, answer: Answer | None) -> Any:
        reader = None if scope.listener is None else self._reader()
        embedded = await self._aembedded(inputs) if self._prompt.embeds else None
        conversation = self._converse(
            inputs, scope, scope.sample, reader, embedded=embedded, answer=answer
        )
        request = next(conversation)
        on_retry = reader.on_retry if reader else None
        reply = await current_settings().runtime.acomplete(
            request, label=self.path, on_text=reader, on_retry=on_retry
        )
        return await self._finish(conversation, reply, reader)

    async def _finish(
        self, conversation: Conversing, reply: Reply, reader: FieldReader | None = None
    ) -> Any:
        """Hold a conversation from its first reply to its end."""
        runtime, on_retry = current_settings().runtime, reader.on_retry if reader else None
        while True:
            try:
                request = conversation.send(reply)
            except StopIteration as done:
                return done.value
            try:
                reply = await runtime.acomplete(
                    request, label=self.path, on_text=reader, on_retry=on_retry
                )
            except LMRequestError as error:
                _throw(conversation, error)

    def _embedded(self, inputs: dict[str, Any]) -> Embedded:
        """The vector of a call's inputs, which chooses its demonstrations, and its charge."""
        asked, runtime = self._embedding(inputs), current_settings().runtime
        with metering() as charges:
            reply = runtime.complete(asked.request, label=self.path)
        return asked.read(reply), charges

    async def _aembedded(self, inputs: dict[str, Any]) -> Embedded:
        asked, runtime = self._embedding(inputs), current_settings().runtime
        with metering() as charges:
            reply = await runtime.acomplete(asked.request, label=self.path)
        return asked.read(reply), charges

    def _embedding(self, inputs: dict[str, Any]) -> Embedding:
        check_calls(current_scope(), self.path)
        return self._prompt.embedding(self.path, inputs, current_settings().embedder)

    def _reader(self) -> FieldReader | None:
        """Hook for subclasses: return what streams the outputs, if somebody listens."""
        listener = current_scope().listener
        if listener is None:
            return None
        from lmpipe.modules.stream import FieldReader

        path = listener.paths.get(id(self), self.path)
        return FieldReader(self._spec, self._prompt.layout, path, listener)

    def _converse(
        self,
        inputs: dict[str, Any],
        scope: Scope,
        sample: int,
        reader: FieldReader | None = None,
        *,
        sampling: bool = False,
        embedded: Embedded | None = None,
        answer: Answer | None = None,
    ) -> Conversing:
        lm = self._decoding.choose(self.lm, scope, sampling=sampling or sample > 0)
        prompt = self.prompt_for(lm)
        if reader is not None:
            reader.reads(prompt.form, prompt.layout)
        conversation = self._conversation(
            self.signature,
            self._spec,
            self.path,
            prompt,
            self.retries,
            scope,
            reader,
            self.extractor,
            self._checks,
            self.max_backtracks,
            answer,
        )
        vector, charges = embedded or (None, ())
        return conversation.hold(inputs, lm, sample, vector, charges)


def _throw(conversation: Conversing, error: LMRequestError) -> NoReturn:
    """Raise the error of a refused request, or what the conversation makes of it."""
    conversation.throw(error)
    raise error


def signature_class(signature: Any) -> type[Signature]:
    if isinstance(signature, str):
        return signature_from_string(signature)
    if isinstance(signature, type) and issubclass(signature, Signature):
        return signature
    raise SignatureError(
        f"not a signature: {signature!r:.100}; give a lmpipe.Signature subclass or a string such "
        'as "question -> answer", or decorate a typed function with lmpipe.predict'
    )
