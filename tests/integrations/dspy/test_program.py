"""DSPy programs on lmpipe: the requests are those of DSPy alone, and the module stays as it is."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import orjson
import pytest
from helpers.dspy_programs import BY_NAME, CASES, Case
from helpers.dspy_stub import RecordingStub, recording_stub

import lmpipe
from lmpipe.integrations.dspy import from_dspy
from lmpipe.lm.runtime import Runtime

MODEL = "openai/gpt-4o-mini"  # DSPy knows that it can reply in JSON
EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def run_alone(case: Case, module: Any, stub: RecordingStub, example: Any) -> Any:
    """Run a module as DSPy runs it."""
    with dspy.context(lm=stub.dspy_lm()):
        if case.is_async:
            return asyncio.run(module.acall(**example.inputs().toDict()))
        return module(**{name: example[name] for name in example.inputs()})


@EACH
def test_requests_are_those_of_dspy_byte_for_byte(case: Case) -> None:
    example, module = case.examples(7), case.make()
    with recording_stub(case.values) as stub:
        alone = run_alone(case, module, stub, example)
        asked_alone = stub.take()
        with lmpipe.using(lm=stub.lm(), runtime=Runtime()):
            result = from_dspy(module)(**{k: example[k] for k in example.inputs()})
        assert stub.take() == asked_alone
    assert len(asked_alone) > 0
    assert dict(result.items()) == dict(alone.items())


class Question(dspy.Signature):
    """Answer the question."""

    question: str = dspy.InputField()
    answer: int = dspy.OutputField()


class OwnSettings(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.warm = dspy.Predict(Question, temperature=0.7, max_tokens=50)
        self.several = dspy.ChainOfThought(Question, n=3)
        self.shown = dspy.Predict(Question)
        self.shown.demos = [
            dspy.Example(question="What is 1 + 1?", answer=2, augmented=True),
            dspy.Example(question="What is 2 + 1?"),
            {"question": "What is 3 + 1?", "answer": "4"},
        ]

    def forward(self, question: str) -> dspy.Prediction:
        self.warm(question=question)
        self.several(question=question, config={"temperature": 1.0})
        return self.shown(question=question)


class Threads(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict(Question)

    def forward(self, question: str) -> dspy.Prediction:
        pairs = [(self.answer, {"question": f"{question} {place}"}) for place in range(4)]
        found = dspy.Parallel(num_threads=1, disable_progress_bar=True)(pairs)
        return found[0]


class Attempts(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.best = dspy.BestOfN(dspy.Predict(Question), N=3, reward_fn=never, threshold=1.0)

    def forward(self, question: str) -> dspy.Prediction:
        return self.best(question=question)


def never(args: Any, pred: Any) -> float:
    return 0.0


def own_lm(stub: RecordingStub) -> Any:
    module = dspy.ChainOfThought(Question)
    settings = {"temperature": 0.2, "max_tokens": 20, "cache": False}
    module.set_lm(dspy.LM("openai/other", api_base=stub.url, api_key="k", **settings))
    return module


VARIANTS: dict[str, tuple[Any, Any]] = {
    "settings": (lambda stub: OwnSettings(), None),
    "threads": (lambda stub: Threads(), None),
    "best of three": (lambda stub: Attempts(), None),
    "own LM": (own_lm, None),
    "JSON": (lambda stub: dspy.ChainOfThought(Question), dspy.JSONAdapter),
    "XML": (lambda stub: dspy.ChainOfThought(Question), dspy.XMLAdapter),
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_requests_are_those_of_dspy_with_any_settings(name: str) -> None:
    make, adapter = VARIANTS[name]
    inputs = {"question": "What is 7 + 1?"}
    with recording_stub(BY_NAME["string"].values) as stub:
        module = make(stub)
        lm, ours = stub.dspy_lm(MODEL), stub.lm(MODEL)
        with dspy.context(adapter=adapter and adapter()):
            with dspy.context(lm=lm):
                alone = module(**inputs)
            asked_alone = stub.take()
            with lmpipe.using(lm=ours, runtime=Runtime()):
                result = from_dspy(module, max_calls=20)(**inputs)
        assert [parsed(body) for body in stub.take()] == [parsed(body) for body in asked_alone]
    assert dict(result.items()) == dict(alone.items())


def parsed(body: bytes) -> bytes:
    """The body with its keys sorted: fields beside the messages may have another order."""
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)


def test_an_unreadable_reply_is_asked_for_as_json_as_dspy_does() -> None:
    inputs = {"question": "What is 7 + 1?"}
    with recording_stub(BY_NAME["string"].values) as stub:
        stub.unreadable = True
        module = dspy.ChainOfThought(Question)
        with dspy.context(lm=stub.dspy_lm(MODEL)):
            alone = module(**inputs)
        asked_alone = stub.take()
        with lmpipe.using(lm=stub.lm(MODEL), runtime=Runtime()):
            result = from_dspy(module)(**inputs)
        assert [parsed(body) for body in stub.take()] == [parsed(body) for body in asked_alone]
    assert len(asked_alone) == 2
    assert dict(result.items()) == dict(alone.items())
