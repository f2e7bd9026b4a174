"""`usage_of`: the LM calls that a result took."""

from __future__ import annotations

import asyncio
import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from helpers.embeddings import by_embeddings, scripted_embedder

import lmpipe
from lmpipe import usage_of
from lmpipe.errors import CallError, OutputError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Reply
from lmpipe.lm.runtime import Runtime
from lmpipe.modules import Ensemble
from lmpipe.settings import using
from lmpipe.state.program_state import Demo
from lmpipe.state.usage import Usage

REPLY = Reply("## answer\nyes", usage=Usage(10, 2, 4))


class Ask(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


class Two(lmpipe.Module):
    def __init__(self) -> None:
        self.first = lmpipe.Predict(Ask)
        self.second = lmpipe.Predict(Ask)
        self.inner: list[int] = []

    def forward(self, question: str) -> Ask:
        first = self.first(question=question)
        self.inner.append(usage_of(first).total.calls)
        return self.second(question=question + "?")


class AsyncTwo(Two):
    async def forward(self, question: str) -> Ask:  # type: ignore[override]
        await self.first.acall(question=question)
        return await self.second.acall(question=question + "?")


@pytest.fixture(autouse=True)
def _lm() -> Any:
    with using(lm=lmpipe.ScriptedLM(lambda request: REPLY, price=(1, 2))):
        yield


def calls(result: object) -> int:
    return usage_of(result).total.calls


def test_the_result_of_a_predictor_has_its_tokens_and_dollars() -> None:
    spent = usage_of(lmpipe.Predict(Ask)(question="a")).by_lm["scripted/scripted"]
    assert (spent.calls, spent.fresh_calls, spent.usage) == (1, 1, Usage(10, 2, 4))
    assert spent.usd == pytest.approx((10 * 1 + 2 * 2) / 1e6)


def test_an_answer_that_was_asked_for_again_took_all_its_calls() -> None:
    lm = lmpipe.ScriptedLM(["what?", "## answer\nyes"])
    with using(lm=lm):
        result = lmpipe.Predict("question -> answer: Literal['yes', 'no']")(question="a")
    assert calls(result) == 2


def test_a_cached_answer_took_a_call_but_no_fresh_one(tmp_path: Path) -> None:
    with using(runtime=Runtime(store=Cache(tmp_path))):
        ask = lmpipe.Predict(Ask)
        ask(question="a")
        total = usage_of(ask(question="a")).total
    assert (total.calls, total.fresh_calls) == (1, 0)


@pytest.mark.parametrize("program", [Two(), AsyncTwo()], ids=["sync", "async"])
@pytest.mark.parametrize("how", ["call", "acall", "batch", "stream"])
def test_the_result_of_a_program_has_all_calls_of_the_run(program: Any, how: str) -> None:
    result = {
        "call": lambda: program(question="a"),
        "acall": lambda: asyncio.run(program.acall(question="a")),
        "batch": lambda: program.batch([{"question": "a"}])[0],
        "stream": lambda: program.stream(question="a").result,
    }[how]()
    assert calls(result) == 2


def test_inside_a_program_the_result_of_a_part_has_only_its_own_calls() -> None:
    program = Two()
    program(question="a")
    assert program.inner == [1]


def test_results_of_a_batch_do_not_share_their_calls() -> None:
    results = Two().batch([{"question": f"{number}"} for number in range(64)])
    assert [calls(result) for result in results] == [2] * 64


def test_a_program_that_asks_an_lm_directly_counts_that_too() -> None:
    class Direct(lmpipe.Module):
        def __init__(self) -> None:
            self.ask = lmpipe.Predict(Ask)

        def forward(self, question: str) -> Ask:
            lmpipe.ScriptedLM(["fine"], name="direct")(question)
            return self.ask(question=question)

    used = usage_of(Direct()(question="a"))
    assert set(used.by_lm) == {"scripted/direct", "scripted/scripted"}


def test_a_subclass_of_predict_with_its_own_forward_counts_all_of_it() -> None:
    class Twice(lmpipe.Predict[..., Any]):
        def forward(self, **inputs: Any) -> Any:
            super().forward(**inputs)
            return super().forward(**inputs)

    assert calls(Twice(Ask)(question="a")) == 2


def test_an_ensemble_counts_the_calls_of_all_members() -> None:
    members = [lmpipe.Predict(Ask), lmpipe.Predict(Ask)]
    assert calls(Ensemble(members)(question="a")) == 2


def test_each_sample_has_its_own_call() -> None:
    samples = lmpipe.Predict(Ask).samples(3, question="a")
    assert [calls(sample) for sample in samples] == [1, 1, 1]


def retrieving() -> Any:
    pool = [Demo(inputs={"question": "a"}, outputs={"answer": "yes"})]
    predictor = lmpipe.Predict(Ask)
    retrieval = by_embeddings(tuple(pool), "question", k=1)
    return predictor.bind(predictor.state().map(retrieval=retrieval))


@pytest.mark.parametrize("how", ["call", "acall", "samples"])
def test_the_call_of_an_embedder_counts(how: str) -> None:
    predictor = retrieving()
    with using(embedder=scripted_embedder()):
        result = {
            "call": lambda: predictor(question="b"),
            "acall": lambda: asyncio.run(predictor.acall(question="b")),
            "samples": lambda: predictor.samples(2, question="b")[0],
        }[how]()
    assert set(usage_of(result).by_role) == {"task", "embedder"}


def test_samples_share_one_call_of_an_embedder() -> None:
    predictor = retrieving()
    with using(embedder=scripted_embedder()), lmpipe.track_usage() as usage:
        samples = predictor.samples(3, question="b")
    assert sum(calls(sample) for sample in samples) == usage.total.calls == 4


def test_the_usage_is_no_part_of_the_result(tmp_path: Path) -> None:
    with using(runtime=Runtime(store=Cache(tmp_path))):
        ask = lmpipe.Predict(Ask)
        fresh, cached = ask(question="a"), ask(question="a")
    assert fresh == cached
    assert hash(fresh) == hash(cached)
    assert fresh.to_dict() == {"answer": "yes"}
    assert repr(fresh) == "Ask(answer='yes')"
    assert fresh.model_dump(inputs=True) == {"question": "a", "answer": "yes"}


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda result: pickle.loads(pickle.dumps(result))]
)
def test_a_copy_is_equal_and_its_usage_is_not_known(copied: Any) -> None:
    result = lmpipe.Predict(Ask)(question="a")
    again = copied(result)
    assert again == result
    with pytest.raises(CallError, match="its usage is not known"):
        usage_of(again)


@pytest.mark.parametrize("result", ["yes", True, None, {"answer": "yes"}])
def test_a_plain_value_points_to_track_usage(result: object) -> None:
    with pytest.raises(CallError, match=r"with lmpipe\.track_usage"):
        usage_of(result)


def test_a_reply_points_to_its_own_usage() -> None:
    with pytest.raises(CallError, match=r"its tokens are in reply\.usage"):
        usage_of(lmpipe.ScriptedLM(["yes"])("hello"))


def test_a_program_that_fails_leaves_its_calls_to_the_block_around() -> None:
    lm = lmpipe.ScriptedLM(lambda request: "what?")
    with using(lm=lm), lmpipe.track_usage() as usage, pytest.raises(OutputError):
        lmpipe.Predict("question -> answer: Literal['yes', 'no']")(question="a")
    assert usage.total.calls == 2


def test_a_result_that_a_program_kept_keeps_its_usage() -> None:
    class Keeping(lmpipe.Module):
        def __init__(self) -> None:
            self.ask = lmpipe.Predict(Ask)
            self.kept: Ask | None = None

        def forward(self, question: str) -> Ask:
            self.kept = self.kept or self.ask(question=question)
            return self.kept

    program = Keeping()
    first = program(question="x")
    assert program(question="x") is first
    assert calls(first) == 1
