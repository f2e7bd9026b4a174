"""`prompt_document`: one predictor's prompt as a JSON document that needs no framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lmpipe.errors import ExportError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.integrations.export.fields import field_document
from lmpipe.integrations.export.templates import (
    JSON_LAYOUTS,
    answer_template,
    question_template,
    reply_form,
)
from lmpipe.layouts.layout import NO_INPUTS
from lmpipe.lm.arguments import Structured
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.providers.openai_body import request_body
from lmpipe.lm.providers.openai_turns import PLACED_BELOW, openai_turns
from lmpipe.lm.request import Request
from lmpipe.modules.agents.act_prompt import EMPTY, FAILED, REPEATED, RESULT, ActPrompt
from lmpipe.modules.agents.act_signature import ARGUMENTS, MORE, THOUGHT, TOOL, TRAJECTORY
from lmpipe.modules.agents.calls_layout import CallsLayout
from lmpipe.modules.predict import Predict
from lmpipe.modules.prompt import Prompt
from lmpipe.modules.retrieval import inputs_text, word_index
from lmpipe.modules.withheld import as_called
from lmpipe.retrieval.vector_index import halves_of
from lmpipe.retrieval.word_index import words_in
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec
from lmpipe.state.program_state import Vectors

FORMAT = "lmpipe-prompt/1"


@runtime_checkable
class Exportable(Protocol):
    """A predictor with prompts of its own, such as one of a DSPy program."""

    spec: SignatureSpec

    def export_document(self, path: str) -> dict[str, Any]:
        """Write its prompt as `prompt_document` does."""
        ...

    def export_request(self, inputs: Mapping[str, Any]) -> Request:
        """Return the request of a call with inputs, given as JSON values."""
        ...

    def export_reading(self, text: str) -> Mapping[str, Any] | None:
        """Read a reply: the outputs as JSON values, or None if it is refused."""
        ...


def prompt_document(path: str, predictor: Predict[..., Any] | Exportable) -> dict[str, Any]:
    """Write the prompt of a predictor, for the LM that would answer it now.

    Args:
        path: of the predictor in its program.
        predictor: the predictor, bound to what was learned.

    Raises:
        ExportError: if the prompt cannot be written without Python code of the program.
    """
    if not isinstance(predictor, Predict):
        return predictor.export_document(path)
    lm = predictor.lm_now()
    prompt = predictor.prompt_for(lm)
    try:
        return _document(path, predictor, lm, prompt)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error


def _document(path: str, predictor: Predict[..., Any], lm: LM, prompt: Prompt) -> dict[str, Any]:
    if prompt.cited:
        raise ExportError("its LM's provider writes the citations, which cannot be exported")
    state, types, form = predictor.state_of(), dict[str, Any](), prompt.form
    layout, inputs = _layouts(prompt)
    in_json = layout in (*JSON_LAYOUTS, "two-step")
    outputs = {
        field.name: field_document(field, types, output=True, in_json=in_json)
        for field in prompt.spec.outputs
    }
    document: dict[str, Any] = {
        "format": FORMAT,
        "name": path,
        "signature": prompt.spec.name,
        "layout": layout,
        "adapter": state.adapter.to_json() if state.adapter else None,
        "schema": form.output_schema,
        "constraint": prompt.constraint.to_json() if prompt.constraint else None,
        "request": request_fields(lm, prompt),
        "messages": turns_of(lm, prompt.prefix.messages),
        "question": question_template(inputs, form),
        "reminder": prompt.reminder,
        "remind": prompt.form_is_not_shown,
        "inputs": {f.name: field_document(f, types) for f in prompt.spec.inputs},
        "outputs": outputs,
        "defaults": {
            "inputs": defaults_of(prompt.spec.inputs),
            "outputs": defaults_of(prompt.spec.outputs),
        },
        "types": types,
        "histories": list(prompt.spec.histories),
        "steps": _steps(prompt),
        "answer": answer_template(layout, form),
        "reply": {
            **reply_form(layout, form),
            "thoughts": [prompt.thought] if prompt.native else [],
        },
        "extraction": _extraction(predictor.extractor or lm, prompt),
        "pool": _pool(predictor, prompt, lm) if prompt.neighbours else None,
    }
    return {**document, "extras": _needs_extras(document)}


def request_fields(lm: LM, prompt: Prompt | None = None, *, second: bool = False) -> dict[str, Any]:
    """The body of a request but for its messages.

    Args:
        lm: that is asked.
        prompt: whose constraint and tools it has, if any.
        second: whether it is the request that reads a free text.
    """
    request = Request(lm, ())
    if prompt is not None:
        free = prompt.extraction is not None and not second
        constraint = None if free else prompt.constraint
        request = Request(lm, (), constraint, 0, prompt.tools, prompt.tool_choice)
    body = request_body(request, constraint_form(lm))
    # The seed of a sample follows from its messages.
    return {name: item for name, item in body.items() if name not in ("messages", "seed")}


def constraint_form(lm: LM) -> Structured:
    """The form of constraints that a server takes, as far as its provider's name tells."""
    if lm.structured != "auto":
        return lm.structured
    return {"vllm": "vllm", "local": "llamacpp"}.get(lm.provider, "openai")  # type: ignore[return-value]


def _layouts(prompt: Prompt) -> tuple[str, str]:
    """The names of the layouts of replies and of questions."""
    layout = prompt.layout
    return layout.name, layout.inputs.name if isinstance(layout, CallsLayout) else layout.name


def turns_of(lm: LM, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Write turns that a question follows, as the request has them."""
    return sent_turns(Request(lm, (*messages, Message("user", "."))))[:-1]


def sent_turns(request: Request) -> list[dict[str, Any]]:
    """Write the messages of a request as they are sent."""
    return openai_turns(request, "vllm" if request.lm.provider == "vllm" else "openai")


def question_text(
    document: Mapping[str, Any],
    value: Callable[[str], str],
    static: Callable[[str], str] = str,
) -> str:
    """Write the user's turn for a template language.

    Args:
        document: as `prompt_document` returns it.
        value: writes the place of an input, by its name.
        static: writes a text that the template shows as it is.
    """
    question = document["question"]
    slots = [
        static(slot["before"]) + value(slot["name"]) + static(slot["after"])
        for slot in question["slots"]
    ]
    text = (
        static(question["open"])
        + static(question["between"]).join(slots)
        + static(question["close"])
    )
    alone = len(document["messages"]) == 1
    ending = document["reminder"] if document["remind"] or alone else ""
    return (text or NO_INPUTS) + static(ending)


def defaults_of(fields: Iterable[FieldSpec]) -> dict[str, Any]:
    return {field.name: field.dump(field.default()) for field in fields if not field.required}


def _steps(prompt: Prompt) -> dict[str, Any]:
    """How the steps of an agent are written, which are turns of the conversation."""
    if not isinstance(prompt, ActPrompt):
        return {"input": "", "native": False}
    return {
        "input": TRAJECTORY,
        "native": prompt.native_calls,
        "fields": [THOUGHT, TOOL, ARGUMENTS, MORE],
        "result": RESULT,
        "failed": FAILED,
        "empty": EMPTY,
        "repeated": REPEATED,
        "media_below": PLACED_BELOW,
    }


def _extraction(lm: LM, prompt: Prompt) -> dict[str, Any] | None:
    """The second request of the layout `two-step`, whose last turn is the reply to the first."""
    if prompt.extraction is None:
        return None
    turns = turns_of(lm, prompt.extraction.messages)
    return {"request": request_fields(lm, prompt, second=True), "messages": turns}


def _pool(predictor: Predict[..., Any], prompt: Prompt, lm: LM) -> dict[str, Any]:
    """The demonstrations to choose from, and the index of their words, or their vectors."""
    neighbours, retrieval = prompt.neighbours, predictor.state_of().retrieval
    assert neighbours is not None
    assert retrieval is not None
    spec, vectors = predictor.spec, retrieval.vectors
    inputs = [as_called(spec, demo) for demo in neighbours.pool]
    label = spec.label if retrieval.balanced else None
    return {
        "k": retrieval.k,
        "demos": [
            {
                "inputs": given,
                "label": label and canonical_json(demo.outputs.get(label)).decode(),
                "messages": turns_of(lm, neighbours.turns_of(place)),
            }
            for place, (demo, given) in enumerate(zip(neighbours.pool, inputs, strict=True))
        ],
        "index": None if vectors else _shares([inputs_text(spec, given) for given in inputs]),
        "vectors": _rows(vectors) if vectors else None,
        "embedder": vectors.embedder if vectors else "",
    }


def _rows(vectors: Vectors) -> list[list[float]]:
    rows: list[list[float]] = halves_of(vectors.data).reshape(-1, vectors.dimension).tolist()
    return rows


def _shares(texts: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
    """What each word adds to the score of each text that has it."""
    index = word_index([words_in(text) for text in texts])
    starts, places, weights = index.starts.tolist(), index.places.tolist(), index.weights.tolist()
    return {
        word: list(zip(places[start:end], weights[start:end], strict=True))
        for word, number in index.words.items()
        for start, end in [starts[number : number + 2]]
    }


def _needs_extras(document: dict[str, Any]) -> bool:
    fields = [*document["inputs"].values(), *document["outputs"].values()]
    special = document["histories"] or document["steps"]["input"] or document["pool"]
    calls = document["answer"]["tool"]
    return bool(special or calls or any(field["deep"] for field in fields))
