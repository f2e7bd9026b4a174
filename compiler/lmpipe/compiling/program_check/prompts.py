"""The prompt of each predictor as its LM would get it, and how many tokens it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmpipe.compiling.program_check.problem import Problem
from lmpipe.data.example import Example
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.token_count import TokenCount, count_tokens
from lmpipe.modules.module import Module, Predictor
from lmpipe.signatures.signature_spec import SignatureSpec, spec_text

# A prompt that fills more of the context than this leaves no room for longer inputs.
_NEAR = 0.9
_TRIED = 100  # examples of which the longest is shown


@dataclass(frozen=True)
class PromptSize:
    """The tokens of a prompt for one LM.

    Args:
        lm: the LM's model.
        count: the tokens of the prompt.
        reply: the maximum tokens of the reply; None if the LM has its own.
        context: the maximum tokens of prompt and reply together.
    """

    lm: str
    count: TokenCount
    reply: int | None
    context: int

    def to_json(self) -> dict[str, Any]:
        return {
            "lm": self.lm,
            "tokens": self.count.tokens,
            "estimated": self.count.estimated,
            "reply": self.reply,
            "context": self.context,
        }


@dataclass(frozen=True)
class PredictorCheck:
    """A predictor, and its prompt.

    Args:
        path: its path in the program.
        kind: its class.
        signature: its signature in one line.
        calls: the maximum number of LM calls of one use.
        messages: the turns of its prompt.
        from_example: whether all inputs are those of an example; otherwise those that no example
            has are placeholders.
        sizes: the tokens of the prompt for each of its LMs.
    """

    path: str
    kind: str
    signature: str
    calls: int
    messages: tuple[Message, ...]
    from_example: bool
    sizes: tuple[PromptSize, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "kind": self.kind,
            "signature": self.signature,
            "calls": self.calls,
            "from_example": self.from_example,
            "messages": [{"role": turn.role, "text": turn.text} for turn in self.messages],
            "sizes": [size.to_json() for size in self.sizes],
        }


def check_predictors(
    program: Module, rows: Sequence[Example], lms: Sequence[LM]
) -> list[PredictorCheck]:
    """Render the prompt of each predictor, with the longest inputs among the examples.

    Args:
        program: the program.
        rows: its examples.
        lms: the LMs that run it; a predictor may have its own.
    """
    found = []
    for path, predictor in program.predictors().items():
        # Demonstrations that an embedder chooses cannot be known without asking it.
        fixed = predictor.state_of().replace(retrieval=None) if predictor.embeds else None
        item = predictor if fixed is None else predictor.with_state(fixed, path)
        found.append(_check(path, item, rows, lms))
    return found


def _check(
    path: str, predictor: Predictor, rows: Sequence[Example], lms: Sequence[LM]
) -> PredictorCheck:
    messages, known = _longest(predictor, rows)
    own = getattr(predictor, "lm", None)
    sizes = [_size(lm, messages) for lm in ([own] if isinstance(own, LM) else lms)]
    return PredictorCheck(
        path,
        type(predictor).__name__,
        spec_text(predictor.spec.describe()),
        predictor.calls_per_use,
        tuple(messages),
        from_example=known,
        sizes=tuple(sizes),
    )


def _longest(predictor: Predictor, rows: Sequence[Example]) -> tuple[Sequence[Message], bool]:
    """Render the longest prompt for the examples, and say whether they have all of its inputs.

    Inputs that come from other predictors are placeholders.
    """
    shown, known = placeholders(predictor.spec), False
    longest = predictor.conversation(shown)
    for row in rows[:_TRIED]:
        given = _given(predictor.spec, row)
        messages = predictor.conversation({**shown, **given}) if given else longest
        if not known or _length(messages) > _length(longest):
            longest = messages
        known = known or given.keys() == shown.keys()
    return longest, known


def _given(spec: SignatureSpec, row: Example) -> dict[str, Any]:
    """The inputs of a predictor that an example has under the same name, as JSON values."""
    given = {}
    for field in spec.inputs:
        if field.name in row.inputs:
            try:
                given[field.name] = field.dump(field.typed(row.inputs[field.name]))
            except ValueError:  # it is another thing of the same name
                continue
        elif not field.required:
            given[field.name] = field.dump(field.default())
    return given


def _length(messages: Iterable[Message]) -> int:
    return sum(len(turn.text) for turn in messages)


def _size(lm: LM, messages: Sequence[Message]) -> PromptSize:
    limit = lm.reply_limit
    count = count_tokens(lm, messages)
    return PromptSize(lm.model, count, None if limit is None else limit[1], lm.context)


def placeholders(spec: SignatureSpec) -> dict[str, Any]:
    """Make inputs as JSON that show where those of a call stand."""
    return {
        field.name: _placeholder(field.name, field.schema, field.schema.get("$defs", {}))
        for field in spec.inputs
    }


def _placeholder(name: str, schema: Mapping[str, Any], shared: Mapping[str, Any]) -> Any:
    if reference := schema.get("$ref"):
        found = shared.get(str(reference).rpartition("/")[2])
        return {} if found is None else _placeholder(name, found, {})
    if choices := schema.get("enum") or schema.get("anyOf") or schema.get("oneOf"):
        first = choices[0]
        return _placeholder(name, first, shared) if isinstance(first, Mapping) else first
    match schema.get("type"):
        case "integer" | "number":
            return 0
        case "boolean":
            return False
        case "array":
            return []
        case "object":
            return {
                part: _placeholder(part, kind, shared)
                for part, kind in schema.get("properties", {}).items()
            }
        case "null":
            return None
    return schema.get("const", f"<{name}>")


def context_problems(predictors: Iterable[PredictorCheck]) -> list[Problem]:
    """Find prompts that do not fit the context of an LM, or nearly fill it."""
    problems = []
    for item in predictors:
        for size in item.sizes:
            used = size.count.tokens + (size.reply or 0)
            if used <= _NEAR * size.context:
                continue
            about = "about " if size.count.estimated else ""
            room = "" if size.reply is None else f" and a reply of up to {size.reply:,}"
            fill = "do not fit" if used > size.context else "nearly fill"
            problems.append(
                Problem(
                    "context",
                    item.path,
                    f"a prompt of {about}{size.count.tokens:,} tokens{room} {fill} the context of "
                    f"{size.lm}, {size.context:,} tokens: shorten the inputs, show fewer "
                    "demonstrations, or give the true context with LM(…, context=…)",
                )
            )
    return problems
