"""What the span of each call is named, and what it tells: of its start and of its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lmpipe.integrations.open_telemetry import content
from lmpipe.integrations.open_telemetry.names import (
    CHAT,
    EMBEDDINGS,
    EXECUTE_TOOL,
    INVOKE_WORKFLOW,
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RETRIEVAL,
    WORKFLOW,
    model_of,
    provider_of,
    server_of,
)
from lmpipe.lm.events import (
    CompileEnded,
    CompileStarted,
    Ended,
    EvaluationEnded,
    EvaluationStarted,
    LMEnded,
    LMStarted,
    PredictorEnded,
    PredictorStarted,
    ProgramEnded,
    ProgramStarted,
    RetrievalEnded,
    RetrievalStarted,
    RowEnded,
    RowStarted,
    SandboxEnded,
    SandboxStarted,
    Started,
    ToolEnded,
    ToolStarted,
)
from lmpipe.lm.request import Reply, Request

Value: TypeAlias = str | int | float | bool | Sequence[str]
Attributes: TypeAlias = dict[str, Value]

# The decoding settings that the conventions name.
_PARAMS: Mapping[str, str] = {
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}


@dataclass(frozen=True, slots=True)
class Opening:
    """The name of a span, and what it tells from its start.

    Args:
        client: whether the call leaves the process.
        apart: whether it begins a trace of its own.
    """

    name: str
    attributes: Attributes = field(default_factory=dict)
    client: bool = False
    apart: bool = False


def opening(event: Started, *, with_content: bool) -> Opening | None:
    """Return how the span of a call begins; None for calls that have none, such as layouts."""
    match event:
        case ProgramStarted(program=program):
            about: Attributes = {OPERATION: INVOKE_WORKFLOW, WORKFLOW: program}
            if with_content:
                about["gen_ai.input.messages"] = content.message_of("user", event.inputs)
            return Opening(f"{INVOKE_WORKFLOW} {program}", about)
        case PredictorStarted(predictor=predictor):
            about = {"lmpipe.predictor": predictor, "lmpipe.sample": event.sample}
            if with_content:
                about["gen_ai.input.messages"] = content.message_of("user", event.inputs)
            return Opening(f"predict {predictor}", about)
        case LMStarted(request=request):
            return _lm_opening(event, request, with_content=with_content)
        case ToolStarted(tool=tool):
            about = {OPERATION: EXECUTE_TOOL, "gen_ai.tool.name": tool}
            about["gen_ai.tool.type"] = "function"
            if with_content:
                about["gen_ai.tool.call.arguments"] = content.json_text(event.arguments)
            return Opening(f"{EXECUTE_TOOL} {tool}", about)
        case RetrievalStarted(retriever=retriever, k=k):
            about = {OPERATION: RETRIEVAL, "gen_ai.data_source.id": retriever}
            about["gen_ai.request.top_k"] = k
            if with_content:
                about["gen_ai.retrieval.query.text"] = "\n".join(event.queries)
            return Opening(f"{RETRIEVAL} {retriever}", about)
        case SandboxStarted(sandbox=sandbox):
            about = {"lmpipe.sandbox": sandbox}
            if with_content:
                about["lmpipe.sandbox.code"] = event.code
            return Opening(f"run code {sandbox}", about)
        case RowStarted(index=index):
            # A compile has more rows than what shows traces can take in one.
            return Opening("score row", {"lmpipe.row": index}, apart=True)
        case EvaluationStarted(program=program, examples=examples):
            known: Attributes = {} if examples is None else {"lmpipe.examples": examples}
            return Opening(f"evaluate {program}", {WORKFLOW: program, **known})
        case CompileStarted(program=program, optimizer=optimizer):
            about = {WORKFLOW: program, "lmpipe.optimizer": optimizer}
            return Opening(f"compile {program}", about)
    return None


def closing(event: Ended, *, with_content: bool) -> Attributes:
    """Return what the span of a call tells from its end."""
    match event:
        case ProgramEnded(result=result) if with_content and event.error is None:
            return {"gen_ai.output.messages": content.message_of("assistant", result)}
        case PredictorEnded(results=results) if with_content and results:
            first, *others = results
            found = [first, *others] if others else first
            return {"gen_ai.output.messages": content.message_of("assistant", found)}
        case LMEnded(reply=Reply() as reply):
            return _lm_closing(event, reply, with_content=with_content)
        case ToolEnded(source=source):
            told: Attributes = {"lmpipe.tool.source": source}
            return {**told, "gen_ai.tool.call.result": event.text} if with_content else told
        case SandboxEnded(output=output) if with_content:
            return {"lmpipe.sandbox.output": output}
        case RetrievalEnded(passages=passages):
            told = {"lmpipe.retrieval.passages": sum(map(len, passages))}
            if with_content:
                flat = [passage for found in passages for passage in found]
                told["gen_ai.retrieval.documents"] = content.json_text(flat)
            return told
        case RowEnded(row=row) if row is not None:
            score: Attributes = {"gen_ai.evaluation.score.value": row.score.value}
            return {**score, "lmpipe.failure": row.failure.kind} if row.failure else score
        case EvaluationEnded(evaluation=evaluation) if evaluation is not None:
            return {"gen_ai.evaluation.score.value": evaluation.score}
        case CompileEnded(run=run) if run is not None:
            about: Attributes = {"lmpipe.run": run.path.name, "lmpipe.state": run.state.hash}
            return {**about, **{f"lmpipe.score.{name}": s for name, s in run.scores.items()}}
    return {}


def lm_labels(event: LMStarted) -> Attributes:
    """Return what names an LM call, of which there are few values."""
    lm = event.request.lm
    operation = EMBEDDINGS if event.request.embeds else CHAT
    return {OPERATION: operation, PROVIDER: provider_of(lm), REQUEST_MODEL: model_of(lm)}


def _lm_opening(event: LMStarted, request: Request, *, with_content: bool) -> Opening:
    lm, labels = request.lm, lm_labels(event)
    about: Attributes = {**labels, **server_of(lm), "lmpipe.role": event.role}
    if event.predictor:
        about["lmpipe.predictor"] = event.predictor
    if not request.embeds:
        about |= _decoding(request)
    if with_content:
        about |= content.asked(request)
    return Opening(f"{labels[OPERATION]} {labels[REQUEST_MODEL]}", about, client=True)


def _decoding(request: Request) -> Attributes:
    lm = request.lm
    found: Attributes = {}
    if lm.temperature is not None:
        found["gen_ai.request.temperature"] = float(lm.temperature)
    if lm.max_tokens is not None:
        found["gen_ai.request.max_tokens"] = lm.max_tokens
    for name, value in lm.params.items():
        if name in _PARAMS and isinstance(value, int | float):
            found[_PARAMS[name]] = value
    constraint = request.constraint
    found["gen_ai.output.type"] = (
        "json" if constraint is not None and constraint.kind == "json_schema" else "text"
    )
    return found


def _lm_closing(event: LMEnded, reply: Reply, *, with_content: bool) -> Attributes:
    usage, total = reply.usage, event.usage.total
    about: Attributes = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.response.finish_reasons": [reply.finish],
        "lmpipe.cached": reply.cached,
        "lmpipe.attempts": reply.attempts,
    }
    optional = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached_prompt_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    about |= {name: count for name, count in optional.items() if count}
    if total.fresh_usd is not None:
        about["lmpipe.usd"] = total.fresh_usd
    if with_content:
        about |= content.replied(reply)
    return about
