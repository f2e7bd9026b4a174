"""`lmpipe check`: what it says of a sound program and of broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Cli = Callable[..., Any]
Write = Callable[[str, str], str]

SOUND = """
from lmpipe.metrics import exact_match

class Write(lmpipe.Signature):
    \"\"\"Write a search query.\"\"\"

    question: str = lmpipe.Input()
    hint: str = lmpipe.Input(default="")
    query: str = lmpipe.Output()

class Read(lmpipe.Signature):
    \"\"\"Answer the question.\"\"\"

    question: str = lmpipe.Input()
    query: str = lmpipe.Input()
    answer: str = lmpipe.Output()

def examples(count, start=0):
    rows = [lmpipe.Example(question=f"question {n + start}", answer="yes") for n in range(count)]
    return [row.with_inputs("question") for row in rows]

class Search(lmpipe.Module):
    def __init__(self):
        self.write = lmpipe.Predict(Write)
        self.read = lmpipe.Predict(Read)

    def forward(self, question: str) -> Read:
        query = self.write(question=question, hint="short")
        return self.read(question=question, query=query.query)

settings = dict(
    program=Search(), train=examples(6), val=examples(3, 10), test=examples(3, 20),
    metric=exact_match("answer"), student=lmpipe.ScriptedLM(["no call is made"]),
    optimizer="labeled", name="search",
)
recipe = lmpipe.Recipe(**settings)
"""

WRITE_READS = "Write(question: str, hint: str) -> (query: str)"

# The code that breaks the sound program, and all that is said of it.
BROKEN: dict[str, tuple[str, list[str]]] = {
    "a predictor that is never reached": (
        """
class Broken(Search):
    def forward(self, question: str) -> Read:
        return self.read(question=question, query=question)
""",
        [
            "write: is never reached: neither Broken.forward nor a method that it calls names "
            "self.write; call it, or leave it out"
        ],
    ),
    "a call without an input": (
        """
class Broken(Search):
    def forward(self, question: str) -> Read:
        query = self.write(hint=question)
        return self.read(question=question, query=query.query)
""",
        [f"write: self.write(…) is called without 'question'; its signature is {WRITE_READS}"],
    ),
    "a call with an unknown input": (
        """
class Broken(Search):
    def forward(self, question: str) -> Read:
        query = self.write(question=question, hint="", tip="short")
        return self.read(question=question, query=query.query)
""",
        [
            "write: self.write(…) is called with 'tip', which is no input; its signature is "
            f"{WRITE_READS}"
        ],
    ),
    "fields that nothing uses": (
        """
class Planned(Write):
    plan: str = lmpipe.Output()

class Broken(Search):
    def __init__(self):
        super().__init__()
        self.write = lmpipe.ChainOfThought(Planned)

    def forward(self, question: str, style: str = "plain") -> Read:
        query = self.write(question=question)
        return self.read(question=question, query=query.query)
""",
        [
            "Broken: Broken.forward does not use its parameter 'style': use it, or leave it out",
            "write: no call gives its input 'hint', which stays at its default: give it, or leave "
            "it out of the signature",
            "write: nothing reads its output 'plan', which the LM writes all the same: use it, or "
            "leave it out of the signature",
        ],
    ),
    "a program that returns nothing": (
        """
class Broken(Search):
    def forward(self, question: str) -> None:
        query = self.write(question=question, hint="")
        self.read(question=question, query=query.query).answer
""",
        [
            "Broken: Broken.forward returns nothing, so the metric would score None: end it with "
            "return …"
        ],
    ),
    "a loop of unknown length": (
        """
class Broken(Search):
    def forward(self, question: str) -> Read:
        for word in question.split():
            query = self.write(question=word, hint="")
        return self.read(question=question, query=query.query)
""",
        [
            "Broken: uses Broken.write in a loop whose length is up to the data, so that budgets "
            "cannot count its calls: set `max_calls = …` on the class"
        ],
    ),
    "data without an input": (
        """
rows = [lmpipe.Example(text=f"text {n}", answer="yes").with_inputs("text") for n in range(2)]
settings["val"] = [*examples(1, 40), *rows]
Broken = Search
""",
        [
            "val: 2 of 3 rows lack what the program takes; row 2: missing a required argument: "
            "'question' (it has text)"
        ],
    ),
    "a metric of a field that is not returned": (
        """
settings["metric"] = exact_match("verdict", gold="label")
Broken = Search
""",
        [
            "exact_match('verdict', gold='label'): needs the output 'verdict', which the program "
            "does not return: it returns Read with answer",
            "exact_match('verdict', gold='label'): needs the field 'label' of the examples, and "
            "12 of 12 examples lack it: the first has question, answer",
        ],
    ),
    "a function as metric that reads what is not there": (
        """
def right(example, prediction, trace=None):
    return float(example.solution == prediction.result)

settings["metric"] = right
Broken = Search
""",
        [
            "right: needs the output 'result', which the program does not return: it returns Read "
            "with answer",
            "right: needs the field 'solution' of the examples, and 12 of 12 examples lack it: "
            "the first has question, answer",
        ],
    ),
    "a tool without a docstring": (
        """
def look_up(word: str) -> str:
    return word

class Broken(Search):
    def __init__(self):
        super().__init__()
        self.tools = {"look up": lmpipe.Tool.of(look_up)}
""",
        [
            "look_up: has no description, which is all that the LM knows of it beside its "
            "parameters: give its function a docstring"
        ],
    ),
    "a prompt that does not fit": (
        """
settings["student"] = lmpipe.ScriptedLM(["-"], context=100, max_tokens=50)
Broken = Search
""",
        [
            "write: a prompt of about 76 tokens and a reply of up to 50 do not fit the context of "
            "scripted/scripted, 100 tokens: shorten the inputs, show fewer demonstrations, or give "
            "the true context with LM(…, context=…)",
            "read: a prompt of about 79 tokens and a reply of up to 50 do not fit the context of "
            "scripted/scripted, 100 tokens: shorten the inputs, show fewer demonstrations, or give "
            "the true context with LM(…, context=…)",
        ],
    ),
    "labels that the metric refuses": (
        """
settings["metric"] = lambda example, prediction: float(prediction.answer == "no")
settings["train"] = examples(6)
Broken = Search
""",
        [
            "<lambda>: the metric '<lambda>' scores gold labels as the prediction below 1 on 12 of "
            "12 rows; on row 1 of train: 0; the labels are {'answer': 'yes'}; so no program can "
            "score 1: check the metric and the labels"
        ],
    ),
}


def broken(code: str) -> str:
    return f"{SOUND}{code}\nrecipe = lmpipe.Recipe(**{{**settings, 'program': Broken()}})\n"


def test_a_sound_program_has_no_problems(cli: Cli, write: Write) -> None:
    result = cli("check", write("sound.py", SOUND))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:7] == [
        "search: Search, 2 predictors, at most 4 LM calls a run",
        "examples: 6 train, 3 val, 3 test",
        "",
        "write: Predict, at most 2 LM calls a use",
        f"  {WRITE_READS}",
        "  prompt: 2 turns, with the inputs of an example",
        "  scripted/scripted: about 76 tokens (estimated) and 512 for the reply, of a context of "
        "8,192",
    ]
    assert result.stdout.splitlines()[-1] == "no problems"


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_program_gets_precise_messages(cli: Cli, write: Write, what: str) -> None:
    code, expected = BROKEN[what]
    result = cli("check", write("broken.py", broken(code)), "--json")
    assert result.exit_code == 1, result.output
    problems = json.loads(result.stdout)["problems"]
    assert [f"{item['place']}: {item['message']}" for item in problems] == expected


def test_problems_are_listed_on_the_terminal(cli: Cli, write: Write) -> None:
    code, (expected,) = BROKEN["a predictor that is never reached"]
    result = cli("check", write("broken.py", broken(code)))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-2:] == ["1 problem:", f"  {expected}"]


def test_prompts_are_shown_on_request(cli: Cli, write: Write) -> None:
    result = cli("check", write("sound.py", SOUND), "--prompts")
    assert "  Write a search query." in result.stdout
    assert "  question 10" in result.stdout
    assert "  <query>" in result.stdout  # no example has it


def test_the_json_has_the_prompts_and_their_tokens(cli: Cli, write: Write) -> None:
    found = json.loads(cli("check", write("sound.py", SOUND), "--json").stdout)
    first, second = found["predictors"]
    assert [turn["role"] for turn in first["messages"]] == ["system", "user"]
    assert (first["from_example"], second["from_example"]) == (True, False)
    (size,) = first["sizes"]
    assert (size["lm"], size["estimated"], size["context"]) == ("scripted/scripted", True, 8192)
    assert found["problems"] == []


def test_another_lm_has_its_own_line(cli: Cli, write: Write) -> None:
    name = write("sound.py", SOUND)
    out = cli("check", name, "--student", "openai/gpt-4o-mini").stdout
    assert "  openai/gpt-4o-mini: about 76 tokens (estimated)" in out


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("recipe = 1", "has no recipe called 'recipe'"),
        ("class Bad(lmpipe.Signature):\n    text: str\n\nlmpipe.Predict(Bad)", "neither an input"),
        ("1 / 0", "cannot be run: ZeroDivisionError"),
    ],
)
def test_a_file_that_gives_no_program_is_bad_input(
    cli: Cli, write: Write, lines: str, message: str
) -> None:
    result = cli("check", write("bad.py", lines))
    assert result.exit_code == 2
    assert message in result.stderr
