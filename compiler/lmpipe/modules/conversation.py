"""One call of a predictor: the requests to its LM, and what is made of the replies.

A conversation is a generator that yields requests and receives replies, so that sync and async
calls run the same code.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pydantic

from lmpipe.errors import CallError, LMRequestError, OutputError
from lmpipe.layouts import LayoutError
from lmpipe.layouts.layout import Reading
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import Scope, check_calls
from lmpipe.lm.spend import Charge
from lmpipe.modules.prompt import Opening, Prompt
from lmpipe.modules.result_usage import set_charges
from lmpipe.modules.unanswered import (
    check_tools,
    cut_error,
    is_cut,
    no_tools_error,
    refusal_error,
    refuses_limit,
    refuses_tools,
    what_came_instead,
    with_more_room,
)
from lmpipe.signatures.signature import Signature
from lmpipe.signatures.signature_spec import SignatureSpec, first_problem
from lmpipe.state.trace import Step

if TYPE_CHECKING:
    from lmpipe.modules.stream import FieldReader

Conversing = Generator[Request, Reply, Any]


@dataclass(eq=False, slots=True)  # not frozen: one is made for each call
class Conversation:
    """One call of the predictor at a path, and how its replies are read and recorded.

    `reader` streams the outputs, if somebody listens. `extractor` is the LM that reads the outputs
    from a free text; if None, the LM that wrote it.
    """

    signature: type[Signature]
    spec: SignatureSpec
    path: str
    prompt: Prompt
    retries: int
    scope: Scope
    reader: FieldReader | None = None
    extractor: LM | None = None

    # Of the call that is held.
    inputs: dict[str, Any] = field(init=False)
    shown: dict[str, Any] = field(init=False)
    sample: int = field(init=False)
    replies: list[Reply] = field(init=False)
    charges: list[Charge] = field(init=False)

    def hold(
        self,
        inputs: dict[str, Any],
        lm: LM,
        sample: int,
        vector: str | None,
        embedding: Sequence[Charge] = (),
    ) -> Conversing:
        """Yield requests and receive replies until one can be read, or raise OutputError.

        `embedding` is what it took to get the vector.
        """
        if self.prompt.tools:
            check_tools(self.path, self.prompt.need_of_tools, lm)
        self.inputs, self.sample = inputs, sample
        self.shown = shown = self.prompt.dump_inputs(inputs)
        self.replies, self.charges = [], [*embedding]
        opening = self.prompt.opening(shown, vector, self.scope.example)
        if self.prompt.extraction is None:
            return self._ask(opening, lm)
        return self._in_two_steps(opening, lm)

    def _in_two_steps(self, opening: Opening, lm: LM) -> Conversing:
        """Ask for a free text, and then for the outputs in it."""
        if self.reader is not None:
            self.reader.pause()  # the text holds no outputs yet
        answer: Reply = yield from self._ask(opening, lm, free=True)
        if self.reader is not None:
            self.reader.resume()
        second = self.prompt.second_opening(answer.text)
        # The thoughts before the text lead to the outputs.
        return (yield from self._ask(second, self.extractor or lm, thoughts=answer.reasoning))

    def _ask(
        self, opening: Opening, lm: LM, *, free: bool = False, thoughts: str | None = None
    ) -> Conversing:
        """Ask until a reply can be read; return the outputs, or the reply if it is a free text.

        `thoughts` led to the outputs, if they are not those of the reply.
        """
        prompt, messages, first_lm = self.prompt, opening.messages, lm
        choice = prompt.tool_choice
        cut: OutputError | None = None  # of the last reply
        for attempt in range(1, self.retries + 2):
            request = Request(  # by position, which is faster
                lm,
                messages,
                None if free else prompt.constraint,
                self.sample,
                prompt.tools,
                choice,
                opening.prefix,
            )
            check_calls(self.scope, self.path)
            if self.reader is not None:
                self.reader.asked(lm.model)
            try:
                reply = yield request
            except LMRequestError as error:
                if prompt.tools and refuses_tools(error):
                    raise no_tools_error(self.path, prompt.need_of_tools, error) from error
                if cut is not None and refuses_limit(error):
                    raise self._failed(cut) from error
                raise
            self._received(reply, lm)
            cut = None
            if reply.refusal:
                raise self._failed(refusal_error(self.path, reply))
            if is_cut(reply, None if free else prompt.layout):
                lm, cut = self._with_room(lm, messages, attempt, first_lm)
                problem = "the reply was cut at the limit of tokens"
            else:
                try:
                    if free:
                        return _checked_text(reply)
                    result, repaired = self._read(
                        reply, reply.reasoning if thoughts is None else thoughts
                    )
                except (LayoutError, pydantic.ValidationError) as error:
                    if attempt > self.retries:
                        raise self._failed(self._unread(error, reply, asked=attempt)) from error
                    problem = _problem(error)
                    # Another question, as the same one has a reply in the cache.
                    messages = (*messages, *prompt.layout.correction(reply, problem))
                    choice = prompt.choice_again(lm)
                else:
                    self._succeeded(result, repaired=repaired)
                    set_charges(result, self.charges)
                    return result
            if self.reader is not None:
                self.reader.ask_again(problem)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _received(self, reply: Reply, lm: LM) -> None:
        """Account for a reply, and tell it."""
        self.replies.append(reply)
        self.charges.append(
            (self.path, self.scope.role, lm, reply.usage, reply.cached, reply.attempts)
        )
        if self.reader is not None:
            self.reader.replied(reply)

    def _with_room(
        self, lm: LM, messages: Sequence[Message], attempt: int, first_lm: LM
    ) -> tuple[LM, OutputError]:
        """Give the LM more room after a cut reply; return it, and the error of that reply.

        `first_lm` is the one of the first attempt: budgets reserve as much for each attempt.

        Raises:
            CutError: if there is no more room, or no more attempt.
        """
        # The calls of a run are limited where a budget counts on their worst case.
        reserved = first_lm.reserved if self.scope.max_calls is not None else None
        reply = self.replies[-1]
        larger = with_more_room(lm, messages, reply, reserved=reserved)
        cut = cut_error(self.path, reply, lm, asked=attempt, has_room=larger is not None)
        if larger is None or attempt > self.retries:
            raise self._failed(cut)
        return larger, cut

    def _read(self, reply: Reply, thoughts: str) -> tuple[Signature, bool]:
        """Read the outputs of a reply, and whether they had to be repaired."""
        answer = self.prompt.layout.answer(reply)
        if not answer.strip() and (instead := what_came_instead(reply)):
            raise LayoutError(instead)
        reading = self.prompt.read(answer, thoughts)
        return self._validate(reading), reading.repaired

    def _validate(self, reading: Reading) -> Signature:
        try:
            # What `model_validate` does, without what it checks first.
            result: Signature = self.signature.__pydantic_validator__.validate_python(
                {**self.inputs, **self.spec.absent_outputs, **reading.values}
            )
        except pydantic.ValidationError as error:
            # A validator of the class may refuse an input, which no retry can mend.
            if error.errors()[0]["loc"][:1] in {(name,) for name in self.spec.input_names}:
                raise CallError(
                    f"{self.path}: input {first_problem(error)}\n  signature: {self.spec}"
                ) from error
            raise
        return result

    def _unread(self, error: Exception, reply: Reply, *, asked: int) -> OutputError:
        times = f" (asked {asked} times)" if asked > 1 else ""
        answer = self.prompt.layout.answer(reply)
        return OutputError(
            f"{self.path}: {_problem(error)}{times}\n"
            f"  signature: {self.spec}\n  reply: {answer!r:.500}",
            raw=answer,
        )

    def _succeeded(self, result: Signature, *, repaired: bool) -> None:
        """Record the call, and stream the rest of its outputs."""
        if self.scope.trace is None and self.reader is None:
            return
        outputs = {f.name: f.dump(getattr(result, f.name)) for f in self.spec.outputs}
        self._record(outputs, repaired=repaired)
        if self.reader is not None:
            self.reader.finish(result, outputs, self.replies)

    def _failed(self, error: OutputError) -> OutputError:
        """Record the call as failed; return its error."""
        problem = str(error).partition("\n")[0].removeprefix(f"{self.path}: ")
        self._record({}, error=problem)
        return error

    def _record(self, outputs: dict[str, Any], *, repaired: bool = False, error: str = "") -> None:
        if self.scope.trace is None:
            return
        replies = self.replies
        step = Step(
            predictor=self.path,
            inputs=self.shown,
            outputs=outputs,
            replies=tuple([self.prompt.layout.answer(reply) for reply in replies]),
            usage=sum([reply.usage for reply in replies[1:]], replies[0].usage),
            seconds=sum([reply.seconds for reply in replies if not reply.cached]),
            cached=all(reply.cached for reply in replies),
            repaired=repaired,
            error=error,
        )
        self.scope.trace.steps.append(step)


def _checked_text(reply: Reply) -> Reply:
    """Return a reply that has a text; raise a LayoutError if it has none."""
    if not reply.text.strip():
        raise LayoutError(what_came_instead(reply) or "the reply is empty")
    return reply


def _problem(error: Exception) -> str:
    return first_problem(error) if isinstance(error, pydantic.ValidationError) else str(error)
