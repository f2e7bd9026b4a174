"""`Retrieve` in programs: calls, awaited calls, batches, plans, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from helpers.embeddings import scripted_embedder
from helpers.passages import CORPUS, ids

import lmpipe
from lmpipe.errors import CallError, ConfigError
from lmpipe.lm.call import Call
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.modules.binding import uncounted_uses
from lmpipe.modules.module import Predictor
from lmpipe.settings import using
from lmpipe.state.trace import Trace
from lmpipe.tools.running import run_tool, run_tool_sync


class AnswerFrom(lmpipe.Signature):
    """Answer from the passages."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


class Ask(lmpipe.Module):
    def __init__(self, retriever: Any) -> None:
        self.retrieve = lmpipe.Retrieve(retriever, k=2)
        self.answer = lmpipe.Predict(AnswerFrom)

    def forward(self, question: str) -> AnswerFrom:
        return self.answer(passages=self.retrieve(question), question=question)


class Async:
    async def search(self, queries: Any, /, *, k: int) -> list[list[lmpipe.Passage]]:
        return [[lmpipe.Passage(query, id=str(k))] for query in queries]


def test_a_program_shows_the_lm_the_ids_and_texts_of_what_was_found() -> None:
    lm = lmpipe.ScriptedLM(lambda request: "[[answer]]\nRome")
    with using(lm=lm, runtime=Runtime()):
        assert Ask(lmpipe.BM25(CORPUS))(question="capital of Italy").answer == "Rome"
    shown = lm.requests[0].messages[-1].text
    assert "Id: rome\n\nRome is the capital of Italy." in shown
    assert "Id: berlin\nTitle: Berlin\n\nBerlin is" in shown


@pytest.mark.parametrize("retriever", [lmpipe.BM25(CORPUS), Async()])
async def test_awaited_calls_find_the_same(retriever: Any) -> None:
    retrieve = lmpipe.Retrieve(retriever, k=2)
    assert await retrieve.acall("capital") == (await retrieve.amany(["x", "capital"]))[1]


@pytest.mark.parametrize("retriever", [lmpipe.BM25(CORPUS), Async()])
def test_calls_batches_and_several_queries_find_the_same(retriever: Any) -> None:
    retrieve = lmpipe.Retrieve(retriever, k=2)
    found = retrieve("capital")
    assert found
    assert retrieve.batch([{"query": "capital"}]) == [found]
    assert retrieve.many(["capital", "x"])[0] == found


def test_k_of_a_call_replaces_that_of_the_module() -> None:
    assert len(lmpipe.Retrieve(lmpipe.BM25(CORPUS))("the capital", k=1)) == 1


def test_a_function_of_query_and_k_is_a_retriever() -> None:
    def look(query: str, k: int) -> list[str]:
        return [f"{query} {number}" for number in range(k + 1)]

    retrieve = lmpipe.Retrieve(look, k=2)
    assert [one.text for one in retrieve("x")] == ["x 0", "x 1"]
    assert repr(retrieve) == "Retrieve(look, k=2)"


async def test_the_function_may_be_async() -> None:
    async def look(query: str, k: int) -> list[dict[str, Any]]:
        return [{"text": query, "id": "a"}]

    assert ids(await lmpipe.Retrieve(look).acall("x")) == ["a"]


def test_it_is_no_predictor_and_takes_no_lm_call() -> None:
    program = Ask(lmpipe.BM25(CORPUS))
    assert list(program.predictors()) == ["answer"]
    assert (program.calls_per_run(), program.embeddings_per_run()) == (2, 0)


def test_plans_count_the_request_that_embeds_the_query() -> None:
    lm = lmpipe.ScriptedLM(lambda request: "[[answer]]\nRome")
    calls: list[Call] = []
    with using(lm=lm, runtime=Runtime(), embedder=scripted_embedder()):
        program = Ask(lmpipe.Embeddings.of(CORPUS))
        assert (program.calls_per_run(), program.embeddings_per_run()) == (3, 1)
        with scope(calls=calls, max_calls=2):
            program(question="capital of Italy")
    assert [call.role for call in calls] == ["embedder", "task"]


def test_a_program_that_declares_its_calls_may_embed_as_often() -> None:
    class Loop(Ask):
        max_calls = 4

    with using(lm="local", runtime=Runtime(), embedder=scripted_embedder()):
        assert Loop(lmpipe.Embeddings.of(CORPUS)).calls_per_run() == 8
    assert Loop(lmpipe.BM25(CORPUS)).calls_per_run() == 4


def test_searches_without_calls_may_be_in_a_loop_of_unknown_length() -> None:
    class Hops(lmpipe.Module):
        def __init__(self, retriever: Any) -> None:
            self.retrieve = lmpipe.Retrieve(retriever)

        def forward(self, queries: list[str]) -> list[list[lmpipe.Passage]]:
            return [self.retrieve(query) for query in queries]

    assert uncounted_uses(Hops(lmpipe.BM25(CORPUS)), Predictor) == []
    with using(lm="local", runtime=Runtime(), embedder=scripted_embedder()):
        index = lmpipe.Embeddings.of(CORPUS)
    assert uncounted_uses(Hops(index), Predictor) == ["Hops.retrieve"]


def test_a_bound_copy_shares_the_index() -> None:
    program = Ask(lmpipe.BM25(CORPUS))
    assert program.bind(program.state()).retrieve is program.retrieve


def test_it_can_be_pickled() -> None:
    retrieve = pickle.loads(pickle.dumps(lmpipe.Retrieve(lmpipe.BM25(CORPUS), k=1)))
    assert ids(retrieve("Tiber")) == ["tiber"]


@pytest.mark.parametrize("found", [None, "text", [[]], [["text"], []]])
def test_a_search_that_gives_something_else_is_named(found: Any) -> None:
    class Wrong:
        def search(self, queries: Any, /, *, k: int) -> Any:
            return found

    with pytest.raises(CallError, match="Wrong: search"):
        lmpipe.Retrieve(Wrong()).many(["a", "b"])


@pytest.mark.parametrize("retriever", [5, lmpipe.BM25, "text"])
def test_what_is_no_retriever_is_refused(retriever: Any) -> None:
    with pytest.raises(ConfigError, match="retriever"):
        lmpipe.Retrieve(retriever)


@pytest.mark.parametrize("query", [5, None, ["a"]])
def test_a_query_that_is_no_text_is_refused(query: Any) -> None:
    with pytest.raises(CallError, match="a query is a text"):
        lmpipe.Retrieve(lmpipe.BM25(CORPUS))(query)


def test_k_is_a_whole_number_of_1_or_more() -> None:
    with pytest.raises(ConfigError, match=r"Retrieve\(k=0\)"):
        lmpipe.Retrieve(lmpipe.BM25(CORPUS), k=0)
    with pytest.raises(ConfigError, match=r"Retrieve\(k=0\)"):
        lmpipe.Retrieve(lmpipe.BM25(CORPUS))("x", k=0)


def asking(retriever: Any) -> lmpipe.Evaluation:
    example = lmpipe.Example(question="capital of Italy").with_inputs("question")
    lm = lmpipe.ScriptedLM(lambda request: "[[answer]]\nRome")
    with using(lm=lm, runtime=Runtime()):
        return lmpipe.evaluate(Ask(retriever), [example], lambda example, prediction: True)


def test_a_search_is_a_step_of_the_trace_before_the_answer() -> None:
    trace = asking(lmpipe.BM25(CORPUS)).rows[0].trace
    (search,) = trace.searches
    assert (search.retriever, search.queries, search.k) == ("BM25", ("capital of Italy",), 2)
    assert [one["id"] for one in search.passages[0]] == ["rome", "berlin"]
    assert trace.timeline == [search, *trace.steps]
    assert "seconds" not in search.to_json()


def test_a_search_that_fails_is_traced_with_its_error() -> None:
    def look(query: str, k: int) -> list[str]:
        raise OSError("the index is gone")

    row = asking(look).rows[0]
    assert row.failure is not None
    assert [one.error for one in row.trace.searches] == ["OSError: the index is gone"]


def test_a_name_of_ones_own_is_in_the_trace() -> None:
    retrieve = lmpipe.Retrieve(lmpipe.BM25(CORPUS), name="facts")
    trace = Trace()
    with scope(trace=trace):
        retrieve.many(["Tiber", "parcel"])
    (search,) = trace.searches
    assert (search.retriever, len(search.passages)) == ("facts", 2)


def test_a_stream_of_a_program_that_searches_has_its_outputs() -> None:
    lm = lmpipe.ScriptedLM(lambda request: "[[answer]]\nin Rome")
    with using(lm=lm, runtime=Runtime()):
        stream = Ask(lmpipe.BM25(CORPUS)).stream(question="capital of Italy")
        assert [event.text for event in stream if hasattr(event, "text")][-1] == "in Rome"
        assert stream.result.answer == "in Rome"


def test_its_identity_changes_with_what_it_finds() -> None:
    def of(retriever: Any, k: int = 3) -> Any:
        return lmpipe.Retrieve(retriever, k=k).identity()

    same = of(lmpipe.BM25(CORPUS))
    assert same == of(lmpipe.BM25(CORPUS))
    for other in (lmpipe.BM25(CORPUS[:3]), lmpipe.BM25(CORPUS, k1=1.0), lambda query, k: []):
        assert of(other) != same
    assert of(lmpipe.BM25(CORPUS), k=2) != same


async def test_an_agent_is_shown_the_passages_as_the_result_of_a_tool() -> None:
    tool = lmpipe.Retrieve(lmpipe.BM25(CORPUS), k=2).as_tool(description="Find facts.")
    assert (tool.name, tool.description) == ("search", "Find facts.")
    assert tool.parameters["required"] == ["query"]
    outcome = await run_tool(tool, {"query": "capital of Italy"})
    assert outcome.text.startswith(
        "[1] Id: rome\n\nRome is the capital of Italy.\n\n[2] Id: berlin"
    )
    assert (await run_tool(tool, {"query": "?"})).text == "Nothing was found."


def test_the_searches_of_an_agent_are_counted_by_its_program() -> None:
    class Agent(lmpipe.Module):
        max_calls = 5

        def __init__(self, retriever: Any) -> None:
            self.search = lmpipe.Retrieve(retriever)
            self.tools = [self.search.as_tool()]

        def forward(self) -> str:
            return "".join(run_tool_sync(self.tools[0], {"query": "Tiber"}).text for _ in range(5))

    calls: list[Call] = []
    with using(lm="local", runtime=Runtime(), embedder=scripted_embedder()):
        agent = Agent(lmpipe.Embeddings.of(CORPUS))
        with scope(calls=calls, max_calls=agent.embeddings_per_run()):
            agent()
    assert len(calls) == 5
