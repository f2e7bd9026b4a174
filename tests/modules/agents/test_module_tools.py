"""Modules as tools of an agent are parts of it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from helpers.agent_replies import PROTOCOLS, Step, agent_lm, as_calls, results_in, scripted, step_in

import lmpipe
from lmpipe.lm.events import AnyEvent, ProgramStarted, ToolStarted
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.settings import using

both = pytest.mark.parametrize("protocol", PROTOCOLS)


class Translate(lmpipe.Signature):
    """Translate into French."""

    text: str = lmpipe.Input(desc="in English")
    formal: bool = lmpipe.Input(default=False)
    french: str = lmpipe.Output()


class Ask(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


CALL: Step = ("I translate.", ("Translate", {"text": "hello"}))
FINISH: Step = ("Done.", ("finish", {"answer": "salut"}))
TRANSLATED = "[[french]]\nsalut"


def run(agent: Any, lm: lmpipe.LM) -> Any:
    with using(lm=lm, runtime=Runtime()):
        return agent(question="?")


@both
def test_a_predictor_is_a_tool(protocol: str) -> None:
    lm = agent_lm(protocol, CALL, TRANSLATED, FINISH)
    run(lmpipe.ReAct(Ask, [lmpipe.Predict(Translate)]), lm)
    assert "[[text]]\nhello" in lm.requests[1].messages[-1].text
    assert results_in(lm.requests[2]) == ['{"french":"salut"}']


def test_the_tool_has_the_inputs_of_the_signature() -> None:
    (tool,) = lmpipe.ReAct(Ask, [lmpipe.Predict(Translate)]).tools
    assert (tool.name, tool.description) == ("Translate", "Translate into French.")
    assert list(tool.parameters["properties"]) == ["text", "formal"]
    assert tool.parameters["properties"]["text"]["description"] == "in English"
    assert tool.parameters["required"] == ["text"]


class Twice(lmpipe.Module):
    """Translate there and back."""

    def __init__(self) -> None:
        self.there = lmpipe.Predict(Translate, retries=0)
        self.back = lmpipe.Predict(Translate, retries=0)

    def forward(self, text: str) -> str:
        return self.back(text=self.there(text=text).french).french


def test_a_module_is_a_tool() -> None:
    lm = agent_lm(
        "text", ("", ("Twice", {"text": "hello"})), TRANSLATED, "[[french]]\nhello", FINISH
    )
    run(lmpipe.ReAct(Ask, [Twice()]), lm)
    assert results_in(lm.requests[-1]) == ["hello"]


class Short(lmpipe.Module):
    """Translate in one word."""

    def __init__(self) -> None:
        self.translate = lmpipe.Predict(Translate, retries=0)

    def forward(self, text: str) -> str:
        found = self.translate(text=text)
        lmpipe.check(" " not in found.french, "write one word")
        return found.french


def test_the_checks_of_a_module_hold_where_it_is_a_tool() -> None:
    call = ("", ("Short", {"text": "hello"}))
    lm = agent_lm("text", call, "[[french]]\nbien le bonjour", TRANSLATED, FINISH)
    run(lmpipe.ReAct(Ask, [Short()]), lm)
    assert "write one word" in lm.requests[2].messages[-1].text
    assert results_in(lm.requests[-1]) == ["salut"]


def test_a_module_is_told_as_a_program_inside_of_the_tool() -> None:
    events: list[AnyEvent] = []
    lm = agent_lm("text", ("", ("Short", {"text": "hello"})), TRANSLATED, FINISH)
    with lmpipe.observing(events.append):
        run(lmpipe.ReAct(Ask, [Short()]), lm)
    (tool,) = [event for event in events if isinstance(event, ToolStarted)]
    inside = [event for event in events if isinstance(event, ProgramStarted)][1:]
    assert [(event.program, event.parent) for event in inside] == [("Short", tool.id)]


def test_a_module_without_a_docstring_has_no_description() -> None:
    class Shout(lmpipe.Module):
        def forward(self, text: str) -> str:
            return text.upper()

    (tool,) = lmpipe.ReAct(Ask, [Shout()]).tools
    assert (tool.name, tool.description) == ("Shout", "")


def test_a_search_is_the_tool_that_it_makes_itself() -> None:
    search = lmpipe.Retrieve(lmpipe.BM25(["Rome is in Italy."]))
    agent = lmpipe.ReAct(Ask, [search])
    assert agent.tools == (search.as_tool(),)
    assert agent.modules == {"search": search}


@both
def test_modules_of_one_signature_get_other_names(protocol: str) -> None:
    quiet, loud = lmpipe.Predict(Translate), lmpipe.Predict(Translate)
    agent = lmpipe.ReAct(Ask, [quiet, loud.as_tool(name="Shout", description="Loudly.")])
    assert [(tool.name, tool.description) for tool in agent.tools] == [
        ("Translate", "Translate into French."),
        ("Shout", "Loudly."),
    ]
    assert agent.modules == {"Translate": quiet, "Shout": loud}
    call: Step = ("I shout.", ("Shout", {"text": "hello"}))
    lm = agent_lm(protocol, call, TRANSLATED, FINISH)
    run(agent, lm)
    assert results_in(lm.requests[2]) == ['{"french":"salut"}']


def test_its_predictors_are_those_of_the_agent() -> None:
    agent = lmpipe.ReAct(Ask, [Twice()])
    assert list(agent.predictors()) == [
        "act",
        "extract",
        "modules[Twice].there",
        "modules[Twice].back",
    ]


def test_its_calls_are_counted() -> None:
    agent = lmpipe.ReAct(Ask, [Twice()], max_steps=3, retries=0)
    assert agent.calls_per_run() == 3 * (1 + 2) + 1


def test_the_agent_of_a_learned_state_runs_the_module_of_that_state() -> None:
    agent = lmpipe.ReAct(Ask, [lmpipe.Predict(Translate)])
    state = agent.state()
    path = "modules[Translate]"
    learned = agent.bind(state.update({path: state[path].replace(instruction="Use slang.")}))
    lm = agent_lm("text", CALL, TRANSLATED, FINISH)
    run(learned, lm)
    assert lm.requests[1].messages[0].text.startswith("Use slang.")


class Program(lmpipe.Module):
    max_calls = 20

    def __init__(self) -> None:
        self.expert = lmpipe.Predict(Translate)
        self.agent = lmpipe.ReAct(Ask, [self.translate])

    def translate(self, text: str) -> str:
        """Translate."""
        return self.expert(text=text).french

    def forward(self, question: str) -> Ask:
        return self.agent(question=question)


def test_a_method_of_the_program_runs_with_the_learned_state() -> None:
    program = Program()
    state = program.state()
    assert list(state.predictors) == ["expert", "agent.act", "agent.extract"]
    learned = program.bind(state.update({"expert": state["expert"].replace(instruction="Slang.")}))
    lm = agent_lm("text", ("", ("translate", {"text": "hello"})), TRANSLATED, FINISH)
    run(learned, lm)
    assert lm.requests[1].messages[0].text.startswith("Slang.")


def test_wrong_inputs_are_a_result() -> None:
    lm = agent_lm("text", ("", ("Translate", {"word": "hello"})), FINISH)
    run(lmpipe.ReAct(Ask, [lmpipe.Predict(Translate)], constrained=False), lm)
    assert "missing 'text'" in results_in(lm.requests[1])[0]


def test_a_module_runs_once_in_a_step() -> None:
    two = as_calls("", ("Translate", {"text": "hello"}), ("Translate", {"text": "bye"}))
    lm = scripted("native", [two, TRANSLATED, step_in("native", *FINISH)])
    run(lmpipe.ReAct(Ask, [lmpipe.Predict(Translate)]), lm)
    assert results_in(lm.requests[2]) == [
        '{"french":"salut"}',
        "call Translate once in a step",
    ]


def test_the_worst_run_makes_the_maximum_of_calls() -> None:
    def worst(request: Request) -> str | Reply:
        system = request.messages[0].text
        if system.startswith("Translate"):
            return TRANSLATED
        if "Work in steps" in system:
            return step_in("native", *CALL)
        return "[[reasoning]]\n.\n\n[[answer]]\nx"

    translate = lmpipe.Predict(Translate, retries=0)
    agent = lmpipe.ReAct(Ask, [translate], max_steps=4, retries=0)
    lm = scripted("native", worst)
    with scope(max_calls=agent.calls_per_run()):
        assert run(agent, lm).answer == "x"
    assert len(lm.requests) == agent.calls_per_run() == 9


class Careful(lmpipe.ReAct[..., Ask]):
    async def forward(self, *args: Any, **kwargs: Any) -> Ask:
        for _ in range(2):
            result = await super().forward(*args, **kwargs)
        return result


def test_a_subclass_with_its_own_forward_is_read() -> None:
    agent = Careful(Ask, [], max_steps=2, retries=0)
    assert agent.calls_per_run() == 2 * (2 + 1)


def test_a_program_whose_method_is_a_tool_is_pickled() -> None:
    program = pickle.loads(pickle.dumps(Program()))
    assert program.agent.modules == {"translate": program}


def test_it_is_pickled() -> None:
    agent = pickle.loads(pickle.dumps(lmpipe.ReAct(Ask, [lmpipe.Predict(Translate)])))
    lm = agent_lm("text", CALL, TRANSLATED, FINISH)
    assert run(agent, lm).answer == "salut"
