"""What a program asks and is answered on examples: the cases in which exports are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic

from lmpipe.data.example import Example
from lmpipe.errors import ExportError
from lmpipe.evaluation.evaluate import evaluate
from lmpipe.integrations.export.document import Exportable, sent_turns
from lmpipe.layouts import LayoutError
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.request import Reply, Request
from lmpipe.modules.module import Module
from lmpipe.modules.predict import Predict
from lmpipe.modules.prompt import Prompt
from lmpipe.retrieval.vector_index import halves_of
from lmpipe.settings import current_settings
from lmpipe.state.trace import Step


@dataclass(frozen=True)
class RecordedCall:
    """One call of a predictor, as the runtime writes and reads it.

    Args:
        predictor: its path.
        example: the number of the example that the program ran on, from 1.
        inputs: of the call, as JSON values.
        request: of the call as in use: demonstrations that hold its answer are not withheld.
        replies: the LM's replies in turn.
        readings: what the runtime reads in each: the outputs as JSON values, or None if it refuses
            the reply.
        vector: the embedding that chooses the demonstrations, if one does.
        outputs: what the call gave, as JSON values; empty if it failed.
    """

    predictor: str
    example: int
    inputs: Mapping[str, Any]
    request: Request
    replies: Sequence[Any]
    readings: Sequence[Mapping[str, Any] | None]
    vector: Sequence[float] | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the request, as they are sent."""
        return sent_turns(self.request)


def exportable_predictors(program: Module) -> dict[str, Predict[..., Any] | Exportable]:
    """The predictors of a program that ask an LM, by path."""
    found = program.predictors().items()
    return {path: item for path, item in found if isinstance(item, Predict | Exportable)}


def record_calls(program: Module, examples: Sequence[Example]) -> list[RecordedCall]:
    """Run a program on examples with the configured LM and runtime; return its predictors' calls.

    Calls of an example that fails are among them.

    Raises:
        LmpipeError: if an LM cannot be asked.
    """
    predictors = exportable_predictors(program)
    evaluation = evaluate(program, examples, _passes, progress=False)
    return [
        _recorded(predictors[step.predictor], step, row.index + 1)
        for row in evaluation.rows
        for step in row.trace.steps
        if step.predictor in predictors
    ]


def _passes(example: Any, prediction: Any, trace: Any) -> bool:
    return True


def _recorded(predictor: Predict[..., Any] | Exportable, step: Step, number: int) -> RecordedCall:
    if not isinstance(predictor, Predict):
        request = predictor.export_request(step.inputs)
        readings = [predictor.export_reading(text) for text in step.replies]
        replies = [{"content": text} for text in step.replies]
        return RecordedCall(
            step.predictor,
            number,
            step.inputs,
            request,
            replies,
            readings,
            outputs=step.outputs,
        )
    lm = predictor.lm_now()
    prompt = predictor.prompt_for(lm)
    request = Request(
        lm,
        predictor.conversation(step.inputs),
        None if prompt.extraction else prompt.constraint,
        0,
        prompt.tools,
        prompt.tool_choice,
    )
    # Of two steps, the first reply is a free text.
    texts = step.replies[-1:] if prompt.extraction else step.replies
    thoughts = step.outputs.get(prompt.thought, "") if prompt.native else ""
    replies = [{"content": text, "reasoning_content": thoughts} for text in texts]
    read = [read_reply(predictor, prompt, step.inputs, text, thoughts) for text in texts]
    vector = vector_of(predictor, prompt, step.inputs)
    return RecordedCall(
        step.predictor, number, step.inputs, request, replies, read, vector, step.outputs
    )


def vector_of(
    predictor: Predict[..., Any], prompt: Prompt, inputs: Mapping[str, Any]
) -> list[float] | None:
    """Ask the embedder for the vector of inputs by which demonstrations are chosen, if they are."""
    if not prompt.embeds:
        return None
    settings, typed = current_settings(), predictor.spec.check_inputs(inputs)
    asked = prompt.embedding(predictor.path, typed, settings.embedder)
    vector: list[float] = halves_of(asked.read(settings.runtime.complete(asked.request))).tolist()
    return vector


def read_reply(
    predictor: Predict[..., Any],
    prompt: Prompt,
    inputs: Mapping[str, Any],
    text: str,
    thoughts: str,
) -> Mapping[str, Any] | None:
    """Read a reply as the runtime does, but without what it knows of the replies before it.

    Returns:
        The outputs as JSON values, or None if the runtime refuses the reply.
    """
    spec = predictor.spec
    try:
        values = prompt.read(text, thoughts).values
        typed = spec.check_inputs(inputs)
        result = predictor.signature.model_validate({**typed, **spec.absent_outputs, **values})
    except (LayoutError, pydantic.ValidationError):
        return None
    return {field.name: field.dump(getattr(result, field.name)) for field in spec.outputs}


class RecordedOnly:
    """A store of replies that lets nothing be asked that it does not have."""

    def __init__(self, store: ReplyStore) -> None:
        self._store = store

    def get(self, key: str, request: Request) -> Reply | None:
        """Return the reply to a request.

        Raises:
            ExportError: if it is not stored.
        """
        reply = self._store.get(key, request)
        if reply is None:
            raise ExportError(
                f"a reply of {request.lm} is neither in the cache nor in a cassette, so the "
                "exported prompts cannot be compared on the validation examples: give --replay "
                "FILE or the --cache of the compile, or let the LM be asked with --ask"
            )
        return reply

    def put(self, key: str, request: Request, reply: Reply) -> None:
        """Store a reply."""
        self._store.put(key, request, reply)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)  # what else the store keeps
