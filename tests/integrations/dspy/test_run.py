"""Runs of DSPy programs: copies, traces, failures, limits, and what stands around them."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import dspy
import orjson
import pytest
from dspy.utils import DummyLM
from helpers.dspy_programs import BY_NAME, same_answer
from helpers.dspy_stub import scripted_lm

import lmpipe
from lmpipe.errors import (
    CallError,
    ConfigError,
    DataError,
    LMRequestError,
    LMUnavailableError,
    MetricError,
    RecipeError,
)
from lmpipe.integrations.dspy import dspy_metric, from_dspy, lm_from_dspy
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.events import PredictorEnded, PredictorStarted
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.state.trace import Trace

VALUES = BY_NAME["string"].values
QUESTION = "What is 2 + 1?"  # whose answer, 3, the scripted LM knows


def lm(**settings: Any) -> lmpipe.ScriptedLM:
    return scripted_lm(VALUES, **settings)


class Counting(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer: int")
        self.runs = 0

    def forward(self, question: str) -> dspy.Prediction:
        self.runs += 1
        return dspy.Prediction(answer=self.answer(question=question).answer, runs=self.runs)


class Asking(dspy.Module):
    """An agent whose tool is a method that asks a predictor."""

    def __init__(self) -> None:
        super().__init__()
        self.expert = dspy.Predict("question -> answer: int")
        self.agent = {"tools": [dspy.Tool(self.consult)]}

    def consult(self, question: str) -> int:
        answer: int = self.expert(question=question).answer
        return answer

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.agent["tools"][0](question=question))


def test_a_run_changes_neither_the_module_nor_the_next_run() -> None:
    module = Counting()
    program = from_dspy(module)
    with lmpipe.using(lm=lm()):
        assert [program(question=QUESTION).runs for _ in range(3)] == [1, 1, 1]
    assert module.runs == 0
    assert module.history == module.answer.history == []


def test_methods_behind_tools_ask_the_learned_predictor() -> None:
    program = from_dspy(Asking())
    (state,) = program.state().predictors.values()
    learned = program.bind(program.state().replace(expert=state.replace(instruction="Go.")))
    scripted = lm()
    with lmpipe.using(lm=scripted):
        assert learned(question=QUESTION).answer == 3
    assert scripted.requests[0].messages[0].text.endswith("Go.")


def test_a_trace_has_the_steps_of_named_predictors() -> None:
    case, trace = BY_NAME["multi-hop"], Trace()
    with lmpipe.using(lm=scripted_lm(case.values)), scope(trace=trace):
        from_dspy(case.make())(question=case.examples(3).question)
    assert [step.predictor for step in trace.steps] == [
        "generate_query[0].predict",
        "generate_query[1].predict",
        "generate_answer.predict",
    ]
    assert trace.steps[0].inputs == {"context": [], "question": case.examples(3).question}
    assert trace.steps[2].outputs == {"reasoning": "step by step", "answer": "sea 3"}


def test_threads_of_dspy_run_in_the_scope_of_the_run() -> None:
    class Several(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("question -> answer: int")

        def forward(self, question: str) -> list[Any]:
            pairs = [(self.answer, {"question": f"{question} ({n})"}) for n in range(5)]
            found: list[Any] = dspy.Parallel(num_threads=3, disable_progress_bar=True)(pairs)
            return found

    trace, program = Trace(), from_dspy(Several(), max_calls=10)
    with lmpipe.using(lm=lm()), scope(trace=trace):
        assert [found.answer for found in program(question=QUESTION)] == [3] * 5
    assert len(trace.steps) == 5


def test_replies_that_cannot_be_read_fail_as_outputs() -> None:
    bad = lmpipe.ScriptedLM(lambda request: "no idea")
    example = lmpipe.Example(question=QUESTION, answer=3).with_inputs("question")
    program = from_dspy(dspy.Predict("question -> answer: int"))
    (row,) = lmpipe.evaluate(program, [example], same_answer, lm=bad).rows
    assert row.failure is not None
    assert (row.failure.kind, row.failure.raw) == ("output", "no idea")
    assert row.trace.steps[0].replies == ("no idea", "no idea")


def test_an_outage_that_dspy_catches_stops_the_evaluation() -> None:
    def gone(request: Request) -> str:
        raise LMUnavailableError("the server is down")

    module = dspy.BestOfN(
        dspy.Predict("question -> answer: int"), N=2, reward_fn=lambda args, pred: 1, threshold=1
    )
    example = lmpipe.Example(question=QUESTION, answer=3).with_inputs("question")
    runtime = Runtime(retry=RetryPolicy(attempts=1))
    with lmpipe.using(runtime=runtime), pytest.raises(LMUnavailableError):
        lmpipe.evaluate(from_dspy(module), [example], same_answer, lm=lmpipe.ScriptedLM(gone))


def test_an_agent_shortens_a_prompt_that_is_too_long() -> None:
    case = BY_NAME["react"]
    answer = scripted_lm(case.values).script

    def limited(request: Request) -> Any:
        if "observation_0" in request.messages[-1].text and "observation_1" in (
            request.messages[-1].text
        ):
            raise LMRequestError("prompt is too long: 9 tokens > 8 maximum", status=400)
        return answer(request)  # type: ignore[operator]

    example, trace = case.examples(0), Trace()
    with lmpipe.using(lm=lmpipe.ScriptedLM(limited), runtime=Runtime()), scope(trace=trace):
        result = from_dspy(case.make())(question=example.question)
    assert "observation_0" not in trace.steps[-1].inputs["trajectory"]
    assert result.answer == "57"


def test_a_run_makes_no_more_calls_than_it_declares(tmp_path: Path) -> None:
    case = BY_NAME["loop"]
    recipe = lmpipe.Recipe(
        program=from_dspy(case.make(), max_calls=2),
        train=case.data(4, first=1),
        val=case.data(3, first=10),
        metric=case.metric,
        student=scripted_lm(case.values),
        budget=lmpipe.Budget(calls=500),
    )
    with pytest.raises(
        RecipeError, match=r"made more than 2 LM .* from_dspy\(module, max_calls=…\)"
    ):
        lmpipe.compile(recipe, runs=tmp_path)


def test_a_loop_of_unknown_length_needs_its_maximum_for_a_budget(tmp_path: Path) -> None:
    case = BY_NAME["loop"]
    recipe = lmpipe.Recipe(
        program=case.make(),
        train=case.data(4, first=1),
        metric=case.metric,
        student=lm(),
        budget=lmpipe.Budget(calls=500),
    )
    with pytest.raises(RecipeError, match=r"from_dspy\(module, max_calls=…\)"):
        lmpipe.compile(recipe, runs=tmp_path)


@pytest.mark.parametrize(
    ("name", "calls"), [("string", 2), ("multi-hop", 6), ("react", 18), ("enum", 2)]
)
def test_the_calls_of_a_run_are_counted(name: str, calls: int) -> None:
    assert from_dspy(BY_NAME[name].make()).calls_per_run() == calls


def test_wrong_inputs_of_a_signature_are_refused() -> None:
    program = from_dspy(dspy.ChainOfThought("question -> answer"))
    with pytest.raises(CallError, match="missing 'question'; unknown 'qestion'"):
        program(qestion="?")
    example = lmpipe.Example(query="?", answer="!").with_inputs("query")
    with pytest.raises(DataError, match="do not match the program"):
        lmpipe.evaluate(program, [example], same_answer)


def test_a_program_can_be_pickled_with_its_state() -> None:
    program = from_dspy(BY_NAME["typed"].make(), max_calls=12)
    learned = program.bind(program.state().map(instruction="Guess."))
    again = pickle.loads(pickle.dumps(learned))
    assert again.state() == learned.state()
    assert again.calls_per_run() == 12


def test_sync_and_async_calls_and_batches_share_the_cache(tmp_path: Path) -> None:
    scripted, program = lm(), from_dspy(dspy.Predict("question -> answer: int"))
    runtime = Runtime(store=Cache(tmp_path))
    with lmpipe.using(lm=scripted, runtime=runtime):
        rows = [{"question": QUESTION}] * 3
        assert [found.answer for found in program.batch(rows)] == [3] * 3
        assert program(question=QUESTION).answer == 3
        assert asyncio.run(program.acall(question=QUESTION)).answer == 3
        assert program.stream(question=QUESTION).result.answer == 3
    runtime.close()
    assert len(scripted.requests) == 1


def test_an_lm_of_dspy_that_runs_code_is_asked_through_the_cache(tmp_path: Path) -> None:
    module = dspy.Predict("question -> answer")
    module.lm = DummyLM([{"answer": "first"}, {"answer": "second"}])
    runtime = Runtime(store=Cache(tmp_path))
    with lmpipe.using(runtime=runtime):
        answers = [from_dspy(module)(question="?").answer for _ in range(2)]
    runtime.close()
    assert answers == ["first", "first"]


def test_a_run_is_not_shown_the_answer_to_its_example() -> None:
    case = BY_NAME["string"]
    module = case.make()
    module.demos = case.data(3)
    scripted = lm()
    lmpipe.evaluate(from_dspy(module), case.data(1), same_answer, lm=scripted)
    (request,) = scripted.requests
    shown = "\n".join(message.text for message in request.messages)
    assert "What is 1 + 1?" in shown
    assert shown.count("What is 0 + 1?") == 1  # the question itself


def test_metrics_get_a_trace_of_dspy_only_where_demonstrations_are_collected(
    tmp_path: Path,
) -> None:
    case, traces = BY_NAME["string"], []

    def metric(example: dspy.Example, pred: Any, trace: Any = None) -> bool:
        assert isinstance(example, dspy.Example)
        traces.append(trace)
        return True

    recipe = lmpipe.Recipe(
        program=case.make(),
        train=case.data(3),
        val=case.data(2, first=10),
        metric=metric,
        optimizer=lmpipe.BootstrapFewShot(),
        student=lm(),
        train_check=0,
        ablation=False,
    )
    lmpipe.compile(recipe, runs=tmp_path)
    collected = [trace for trace in traces if trace is not None]
    assert None in traces
    assert len(collected) == 3
    found = {use[0][1]["question"]: use[0][2].answer for use in collected}
    assert found[QUESTION] == 3


def test_a_module_of_dspy_is_a_metric_whose_calls_go_to_the_judge() -> None:
    class Judge(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = dspy.Predict("question, given -> answer: int")

        def forward(self, example: Any, pred: Any, trace: Any = None) -> dspy.Prediction:
            said = self.ask(question=example.question, given=str(pred.answer)).answer
            return dspy.Prediction(score=float(said == pred.answer), feedback="as it says")

    student, judge = lm(), lm(name="judge")
    program = from_dspy(dspy.Predict("question -> answer: int"))
    found = lmpipe.evaluate(
        program, BY_NAME["string"].data(1, first=2), dspy_metric(Judge()), lm=student, judge=judge
    )
    assert (found.score, found.rows[0].score.feedback) == (1.0, "as it says")
    assert (len(student.requests), len(judge.requests)) == (1, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Counting, "give an instance"),
        ("a text", "give a dspy.Module"),
        (dspy.Module(), "has no predictors"),
    ],
)
def test_what_is_no_program_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dspy(given)


class Direct(dspy.Module):
    """It asks an LM of its own without a predictor, and another one in a block."""

    def __init__(self, asked: Any) -> None:
        super().__init__()
        self.asked = asked
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        (text,) = self.asked(question)
        with dspy.context(lm=self.asked):
            return dspy.Prediction(answer=self.answer(question=question).answer, text=text)


def test_every_lm_that_a_module_holds_is_asked_through_the_runtime() -> None:
    asked: list[str] = []

    class Noting(Runtime):
        def complete(self, request: Request, **options: Any) -> Reply:
            asked.append(request.lm.model)
            return Reply("[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]")

    own = dspy.LM("openai/own", api_base="http://127.0.0.1:1/v1", api_key="k")
    reader = dspy.LM("openai/reader", api_base="http://127.0.0.1:1/v1", api_key="k")
    with (
        lmpipe.using(lm=lm(), runtime=Noting()),
        dspy.context(adapter=dspy.TwoStepAdapter(reader)),
    ):
        assert from_dspy(Direct(own))(question="?").answer == "yes"
    assert asked == ["openai/own", "openai/own", "openai/reader"]


def test_a_predictor_tells_its_prompt_and_its_reply() -> None:
    case = BY_NAME["history"]
    (predictor,) = from_dspy(case.make()).predictors().values()
    turns = [{"question": "Who?", "answer": "I."}]
    messages = predictor.conversation({"question": "And?", "history": {"messages": turns}})
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert predictor.reply({"answer": "So."}).startswith("[[ ## answer ## ]]\nSo.")


def test_predictions_are_written_as_objects(tmp_path: Path) -> None:
    case = BY_NAME["pydantic"]
    file = tmp_path / "rows.jsonl"
    found = lmpipe.evaluate(
        case.make(), case.data(1, first=3), case.metric, lm=scripted_lm(case.values), save_to=file
    )
    assert found.score == 1.0
    assert orjson.loads(file.read_bytes())["prediction"] == {
        "order": {"items": [{"name": "nut", "count": 3}], "urgent": False},
        "tags": ["nuts"],
    }


def test_a_compile_is_recorded_and_replayed_without_its_lm(tmp_path: Path) -> None:
    case = BY_NAME["multi-hop"]

    def compiled(student: lmpipe.ScriptedLM, mode: str, folder: str) -> bytes:
        recipe = lmpipe.Recipe(
            program=case.make(),
            train=case.data(6),
            val=case.data(4, first=10),
            metric=case.metric,
            optimizer=lmpipe.RandomSearch(candidates=2),
            student=student,
        )
        cassette = Cassette(tmp_path / "calls.jsonl", mode=mode)  # type: ignore[arg-type]
        with lmpipe.using(runtime=Runtime(store=cassette)), cassette:
            run = lmpipe.compile(recipe, runs=tmp_path / folder)
        return (run.path / "program.json").read_bytes()

    recorded = compiled(scripted_lm(case.values), "rewrite", "recorded")
    again = scripted_lm(case.values)
    assert compiled(again, "none", "replayed") == recorded
    assert again.requests == []


def test_listeners_are_told_of_predictors_by_their_names() -> None:
    case, events = BY_NAME["multi-hop"], list[Any]()
    with lmpipe.using(lm=scripted_lm(case.values)), lmpipe.observing(events.append):
        from_dspy(case.make())(question=case.examples(3).question)
    started = [event for event in events if isinstance(event, PredictorStarted)]
    ended = [event for event in events if isinstance(event, PredictorEnded)]
    assert [event.predictor for event in started] == [
        "generate_query[0].predict",
        "generate_query[1].predict",
        "generate_answer.predict",
    ]
    assert ended[2].results[0].answer == "sea 3"


def test_a_run_that_catches_the_error_of_too_many_calls_fails_all_the_same(tmp_path: Path) -> None:
    module = dspy.BestOfN(
        dspy.Predict("question -> answer: int"), N=4, reward_fn=lambda args, pred: 0, threshold=1
    )
    case = BY_NAME["string"]
    recipe = lmpipe.Recipe(
        program=from_dspy(module, max_calls=2),
        train=case.data(4),
        val=case.data(3, first=10),
        metric=case.metric,
        student=lm(),
        budget=lmpipe.Budget(calls=500),
    )
    with pytest.raises(RecipeError, match="made more than 2 LM calls"):
        lmpipe.compile(recipe, runs=tmp_path)


@pytest.mark.parametrize("given", [-1, 1.5, "12", True])
def test_a_maximum_of_calls_is_a_whole_number(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"from_dspy.*max_calls must be"):
        from_dspy(Counting(), max_calls=given)
    with pytest.raises(MetricError, match=r"dspy_metric.*max_calls must be"):
        dspy_metric(same_answer, max_calls=given)


def test_a_class_in_place_of_a_program_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"from_dspy\(Counting\): give an instance"):
        lmpipe.evaluate(Counting, BY_NAME["string"].data(1), same_answer, lm=lm())


def test_a_name_is_no_lm_of_dspy() -> None:
    with pytest.raises(ConfigError, match="give an LM of DSPy"):
        lm_from_dspy("openai/small")


def test_a_metric_of_gepa_is_given_its_five_parameters() -> None:
    case, seen = BY_NAME["string"], []

    def metric(gold: Any, pred: Any, trace: Any, pred_name: Any, pred_trace: Any) -> float:
        seen.append((trace, pred_name, pred_trace))
        return 1.0

    lmpipe.evaluate(case.make(), case.data(1), metric, lm=lm())
    assert seen == [(None, None, None)]


def test_a_metric_keeps_the_defaults_of_its_other_parameters() -> None:
    case = BY_NAME["string"]

    def metric(gold: Any, pred: Any, trace: Any = None, share: float = 0.5) -> float:
        return share

    assert lmpipe.evaluate(case.make(), case.data(1), metric, lm=lm()).score == 0.5


def test_secrets_of_a_predictor_are_sent_but_are_no_part_of_its_state() -> None:
    module = dspy.Predict(
        "question -> answer: int", api_key="key-1", extra_body={"auth_token": "key-2"}, top_p=0.5
    )
    program, scripted = from_dspy(module), lm()
    assert dict(program.state()["self"].decoding) == {"top_p": 0.5}
    with lmpipe.using(lm=scripted):
        program(question=QUESTION)
    (request,) = scripted.requests
    assert request.lm.params["extra_body"] == {"auth_token": "key-2"}


def test_the_identity_of_an_lm_that_runs_code_has_no_secrets() -> None:
    class Own(dspy.LM):  # type: ignore[misc]
        pass

    asked = Own("openai/small", api_key="key-1", extra_body={"auth_token": "key-2", "k": 1})
    identity = lm_from_dspy(asked).identity()
    assert identity["dspy"]["settings"]["extra_body"] == {"k": 1}
    assert "key-" not in str(identity)
