"""One call of a predictor: the requests to its LM, and what is made of the replies.

A conversation is a generator that yields requests and receives replies, so that sync and async
calls run the same code.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pydantic

from lmpipe.errors import CallError, CheckError, LMRequestError, OutputError
from lmpipe.foundation.plural import plural
from lmpipe.layouts import LayoutError
from lmpipe.layouts.layout import Reading
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.observing import listening, predictor_here
from lmpipe.lm.parts import DocumentPart
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import Scope, check_calls
from lmpipe.lm.spend import Charge
from lmpipe.modules.missing_outputs import MissingOutputs
from lmpipe.modules.native_citations import citations_of, documents_in
from lmpipe.modules.observed import observed_layout, tell_failed_check
from lmpipe.modules.prompt import Opening, Prompt
from lmpipe.modules.reply_problems import fails_check, is_ambiguous, problem_of
from lmpipe.modules.result_usage import set_charges
from lmpipe.modules.unanswered import (
    check_tools,
    cut_error,
    is_cut,
    no_tools_error,
    refusal_error,
    refuses_limit,
    refuses_tools,
    repeats_itself,
    what_came_instead,
    with_more_room,
    without_repetition,
)
from lmpipe.signatures.output_checks import OutputCheck
from lmpipe.signatures.signature import Signature
from lmpipe.signatures.signature_spec import SignatureSpec, first_problem
from lmpipe.state.trace import FailedCheck, Step

if TYPE_CHECKING:
    from lmpipe.modules.stream import FieldReader
    from lmpipe.state.answers import Answer

Conversing = Generator[Request, Reply, Any]
Messages = tuple[Message, ...]


@dataclass(eq=False, slots=True)  # not frozen: one is made for each call
class Conversation:
    """One call of the predictor at a path, and how its replies are read and recorded.

    `reader` streams the outputs, if somebody listens. `extractor` is the LM that reads the outputs
    from a free text; if None, the LM that wrote it. `checks` are those of the signature, and an
    answer that fails one is sent back `max_backtracks` times. `answer` receives the answer in a
    program with checks, and has those before it that failed.
    """

    signature: type[Signature]
    spec: SignatureSpec
    path: str
    prompt: Prompt
    retries: int
    scope: Scope
    reader: FieldReader | None = None
    extractor: LM | None = None
    checks: tuple[OutputCheck, ...] = ()
    max_backtracks: int = 0
    answer: Answer | None = None

    # Of the call that is held.
    inputs: dict[str, Any] = field(init=False)
    shown: dict[str, Any] = field(init=False)
    sample: int = field(init=False)
    replies: list[Reply] = field(init=False)
    charges: list[Charge] = field(init=False)
    free: Reply | None = field(init=False, default=None)  # the free text with the outputs
    failed: list[FailedCheck] | None = field(init=False, default=None)
    documents: Sequence[DocumentPart] = field(init=False, default=())  # that the provider cites

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
        if listening:
            with observed_layout(self.prompt.layout, "write", self.path) as call:
                opening = self.prompt.opening(shown, vector, self.scope.example)
                call.ends(messages=opening.messages)
        else:
            opening = self.prompt.opening(shown, vector, self.scope.example)
        if self.prompt.cited:
            self.documents = documents_in(opening.messages)
        if self.answer is not None and self.answer.earlier:
            for sent_back in self.answer.earlier:
                opening = self._with_feedback(opening, sent_back.reply, sent_back.feedback)
            if self.reader is not None:
                self.reader.ask_again(self.answer.earlier[-1].feedback)
        if self.checks:
            return self._checked(opening, lm)
        if self.prompt.extraction is None:
            return self._ask(opening, lm)
        return self._in_two_steps(opening, lm)

    def _checked(self, opening: Opening, lm: LM) -> Conversing:
        """Ask until an answer passes the signature's checks.

        Raises:
            CheckError: if the last answer fails one that is required.
        """
        left = self.max_backtracks
        while True:
            if self.prompt.extraction is None:
                result, repaired = yield from self._ask(opening, lm, checked=True)
            else:
                result, repaired = yield from self._in_two_steps(opening, lm, checked=True)
            missed = [check for check in self.checks if not check.passes(result)]
            if not missed:
                return self._succeeded(result, repaired=repaired)
            feedback = " ".join([check.feedback for check in missed])
            required = any(check.required for check in missed)
            self._note_failed(feedback, self._outputs(result), required=required, unmet=not left)
            if not left:
                if required:
                    raise self._failed(self._check_error(feedback, self._reply()))
                return self._succeeded(result, repaired=repaired)
            left -= 1
            opening = self._with_feedback(opening, self._reply(), feedback)
            if self.reader is not None:
                self.reader.ask_again(feedback)

    def _in_two_steps(self, opening: Opening, lm: LM, *, checked: bool = False) -> Conversing:
        """Ask for a free text, and then for the outputs in it."""
        if self.reader is not None:
            self.reader.pause()  # the text holds no outputs yet
        answer: Reply = yield from self._ask(opening, lm, free=True)
        if self.reader is not None:
            self.reader.resume()
        second, self.free = self.prompt.second_opening(answer.text), answer
        asking = self._ask(
            second,
            self.extractor or lm,
            thoughts=answer.reasoning,  # which lead to the outputs
            checked=checked,
        )
        return (yield from asking)

    def _ask(
        self,
        opening: Opening,
        lm: LM,
        *,
        free: bool = False,
        thoughts: str | None = None,
        checked: bool = False,
    ) -> Conversing:
        """Ask until a reply can be read; return the outputs, or the reply if it is a free text.

        `thoughts` led to the outputs, if they are not those of the reply. If the outputs are
        `checked` next, they are returned with whether they had to be repaired.
        """
        prompt, messages, first_lm = self.prompt, opening.messages, lm
        choice = prompt.tool_choice
        cut: OutputError | None = None  # of the last reply
        missing: MissingOutputs | None = None  # all that is asked for, if it is not everything
        for attempt in range(1, self.retries + 2):
            if free:
                constraint = None
            else:
                constraint = prompt.constraint if attempt == 1 else prompt.constraint_again(missing)
            request = Request(  # by position, which is faster
                lm,
                messages,
                constraint,
                self.sample,
                prompt.tools,
                choice,
                opening.prefix,
            )
            if self.scope.max_calls is not None:
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
            self.replies.append(reply)
            self.charges.append(
                (self.path, self.scope.role, lm, reply.usage, reply.cached, reply.attempts)
            )
            if self.reader is not None:
                self.reader.replied(reply)
            cut = None
            if reply.refusal:
                raise self._failed(refusal_error(self.path, reply))
            if reply.finish == "length" and is_cut(reply, None if free else prompt.layout):
                if attempt <= self.retries and not free and repeats_itself(reply.text):
                    # More room would not help.
                    said = replace(reply, text=without_repetition(reply.text))
                    looped = LayoutError("the reply repeated itself until it was cut")
                    problem, messages, missing = self._after_unread(messages, missing, said, looped)
                else:
                    lm, cut = self._with_room(lm, messages, attempt, first_lm)
                    problem = "the reply was cut at the limit of tokens"
            else:
                try:
                    if free:
                        return _checked_text(reply)
                    result, repaired = (self._read_observed if listening else self._read)(
                        reply, reply.reasoning if thoughts is None else thoughts, missing
                    )
                except (LayoutError, pydantic.ValidationError) as error:
                    if fails_check(error):
                        self._note_failed(problem_of(error), {}, unmet=attempt > self.retries)
                    if attempt > self.retries:
                        raise self._failed(self._unread(error, reply, asked=attempt)) from error
                    problem, messages, missing = self._after_unread(messages, missing, reply, error)
                    choice = prompt.choice_again(lm)
                else:
                    if checked:
                        return result, repaired
                    scope = self.scope
                    if scope.trace is None and self.reader is None and self.answer is None:
                        set_charges(result, self.charges)  # most calls of plain programs
                        return result
                    return self._succeeded(result, repaired=repaired)
            if self.reader is not None:
                self.reader.ask_again(problem)
        raise AssertionError("unreachable: the last attempt returns or raises")

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

    def _after_unread(
        self, messages: Messages, missing: MissingOutputs | None, reply: Reply, error: Exception
    ) -> tuple[str, Messages, MissingOutputs | None]:
        """Ask for all outputs again, or for those that are missing from a reply.

        Returns the problem, and what is asked. It is another question, because the same one has a
        reply in the cache.
        """
        if fails_check(error) or is_ambiguous(error):
            missing = None
        else:
            missing = self.prompt.missing(self.prompt.layout.answer(reply), missing)
        problem = problem_of(error, rest=missing is not None)
        form, rest = (missing.form, True) if missing else (self.prompt.form, False)
        turns = self.prompt.layout.correction(form, reply, problem, rest=rest)
        return problem, (*messages, *turns), missing

    def _read(
        self, reply: Reply, thoughts: str, missing: MissingOutputs | None
    ) -> tuple[Signature, bool]:
        """Read the outputs of a reply, and whether they had to be repaired."""
        answer = self.prompt.layout.answer(reply)
        if not answer.strip() and (instead := what_came_instead(reply)):
            raise LayoutError(instead)
        if missing is None:
            reading = self.prompt.read(answer, thoughts)
        else:
            reading = self.prompt.read_rest(answer, thoughts, missing)
        if self.prompt.cited:
            quotes = [quote for each in self.replies for quote in each.quotes]
            cited = citations_of(quotes, self.documents, self.inputs)
            reading.values[self.prompt.cited] = cited
        return self._validate(reading), reading.repaired

    def _read_observed(
        self, reply: Reply, thoughts: str, missing: MissingOutputs | None
    ) -> tuple[Signature, bool]:
        with observed_layout(self.prompt.layout, "read", self.path) as call:
            result, repaired = self._read(reply, thoughts, missing)
            call.ends(result=result, repaired=repaired)
        return result, repaired

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
            f"{self.path}: {problem_of(error)}{times}\n"
            f"  signature: {self.spec}\n  reply: {answer!r:.500}",
            raw=answer,
        )

    def _succeeded(self, result: Signature, *, repaired: bool) -> Signature:
        """Record the call, stream the rest of its outputs, and return them."""
        if self.scope.trace is not None or self.reader is not None:
            outputs = self._outputs(result)
            self._record(outputs, repaired=repaired)
            if self.reader is not None:
                self.reader.finish(result, outputs, self.replies)
        set_charges(result, self.charges)
        if self.answer is not None:
            self.answer.result, self.answer.reply = result, self._reply()
            assert self.scope.answers is not None
            self.scope.answers.add(self.answer)
        return result

    def _outputs(self, result: Signature) -> dict[str, Any]:
        return {f.name: f.dump(getattr(result, f.name)) for f in self.spec.outputs}

    def _reply(self) -> Reply:
        """The reply with the answer: the free text, if the outputs were read from one."""
        return self.free or self.replies[-1]

    def _with_feedback(self, opening: Opening, reply: Reply, feedback: str) -> Opening:
        """Go on after an answer that failed a check."""
        turns = self.prompt.layout.correction(self.prompt.form, reply, feedback)
        return Opening(opening.prefix, (*opening.messages, *turns))

    def _note_failed(
        self, feedback: str, outputs: dict[str, Any], *, required: bool = True, unmet: bool
    ) -> None:
        """Note an answer that failed a check, for the record of the call."""
        earlier = len(self.answer.earlier) if self.answer is not None else 0
        self.failed = self.failed or []
        attempt = earlier + len(self.failed) + 1
        self.failed.append(FailedCheck(feedback, outputs, required, attempt, unmet))
        if listening:
            tell_failed_check(self.failed[-1], predictor_here() or self.path)

    def _check_error(self, feedback: str, reply: Reply) -> CheckError:
        times = plural(self.max_backtracks + 1, "time")
        return CheckError(
            f"{self.path}: the answer fails a check: {feedback} (asked {times}; raise it by "
            f"max_backtracks=…)\n  signature: {self.spec}\n  reply: {reply.text!r:.500}",
            raw=self.prompt.layout.answer(reply),
            feedback=feedback,
        )

    def _failed(self, error: OutputError) -> OutputError:
        """Record the call as failed; return its error."""
        problem = str(error).partition("\n")[0].removeprefix(f"{self.path}: ")
        if self.failed:
            self.failed[-1] = replace(self.failed[-1], unmet=True)
        elif self.answer is not None and self.answer.earlier:
            self._note_failed(problem, {}, unmet=True)
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
            checks=tuple(self.failed) if self.failed else (),
            sent_back=len(self.answer.earlier) if self.answer is not None else 0,
        )
        self.scope.trace.steps.append(step)
        if self.answer is not None:
            self.answer.step = step


def _checked_text(reply: Reply) -> Reply:
    """Return a reply that has a text; raise a LayoutError if it has none."""
    if not reply.text.strip():
        raise LayoutError(what_came_instead(reply) or "the reply is empty")
    return reply
