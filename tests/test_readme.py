"""The examples of the README run, and its commands and options exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import orjson
import pytest
from helpers.agent_replies import step_in
from helpers.code_replies import code, outputs
from helpers.dspy_stub import scripted_lm
from helpers.filler import fill
from helpers.pages import ROOT, blocks, examples_of, read_page, run_examples
from helpers.sandboxes import needs_monty
from typer.main import get_command
from typer.testing import CliRunner

import lmpipe
from lmpipe.lm.request import Request

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "\n".join(blocks(README))
    (tmp_path / "programs").symlink_to(ROOT / "programs")
    monkeypatch.chdir(tmp_path)
    scripted = lmpipe.ScriptedLM(fill)
    source = source.replace("lmpipe.Recipe(", "lmpipe.Recipe(student=STUDENT, ")
    with lmpipe.using(lm=scripted):
        run_examples(source, tmp_path, STUDENT=scripted)
    assert scripted.requests


def test_the_examples_about_types_for_fields_run(tmp_path: Path) -> None:
    scripted = lmpipe.ScriptedLM(fill)
    with lmpipe.using(lm=scripted):
        run_examples(examples_of("fields.md"), tmp_path)
    assert [len(request.messages) for request in scripted.requests] == [2, 2, 4]


def cite(request: Request) -> str:
    """Fill the outputs in; a citation is one that the examples about citations accept."""
    cited = '[[citations]]\n[{"id": "rome", "quote": "capital of Italy"}]'
    return re.sub(r"\[\[citations\]\]\n.*", cited, fill(request))


@pytest.mark.parametrize("page", ["retrieval.md", "judges.md"])
def test_the_examples_about_retrieval_and_judges_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scripted = lmpipe.ScriptedLM(cite)
    with lmpipe.using(lm=scripted, embedder=lmpipe.ScriptedLM([], name="embedder")):
        run_examples(examples_of(page), tmp_path)
    assert scripted.requests


def test_the_examples_about_checks_run(tmp_path: Path) -> None:
    scripted = lmpipe.ScriptedLM(fill)
    with lmpipe.using(lm=scripted):
        search = run_examples(examples_of("checks.md"), tmp_path)["Search"]
    # Two queries and an answer, each asked twice at most, in five passes.
    assert search().calls_per_run() == 5 * 3 * 2
    assert scripted.requests


def test_the_examples_about_agents_run(tmp_path: Path) -> None:
    ask = ("population", {"city": "Bern"})
    answers = [
        ("finish", {"city": "Bern", "people": 134_000}),
        *[("finish", {"answer": answer}) for answer in ("134,000", "173,000")],
        ("finish", {"city": "Basel", "people": 173_000}),
    ]
    replies = [step_in("text", "I look.", call) for answer in answers for call in (ask, answer)]
    scripted = lmpipe.ScriptedLM(replies)
    with lmpipe.using(lm=scripted):
        run_examples(examples_of("agents.md"), tmp_path)
    assert len(scripted.requests) == len(replies)


@needs_monty
def test_the_examples_about_code_run(tmp_path: Path) -> None:
    query = "answers = llm_query_batched([f'Praise? {review}' for review in reviews])"
    replies = [
        code("submit(each=amount / len(people))"),
        code("submit(total=sum(population(city) for city in cities))"),
        code(f"{query}\nprint(answers)"),
        *(outputs(response=answer) for answer in ("yes", "no")),
        code("submit([place for place, answer in enumerate(answers) if answer == 'yes'])"),
    ]
    scripted = lmpipe.ScriptedLM(replies)
    with lmpipe.using(lm=scripted):
        run_examples(examples_of("sandbox.md"), tmp_path)
    assert len(scripted.requests) == len(replies)


def improve(request: Request) -> str:
    """Propose a text for each of the examples about texts."""
    asked = orjson.loads(request.messages[-1].text)
    if "regular expression" in asked["program"]:
        text = "[0-9]{4}"
    elif "neighbours" in asked["cases"]:
        text = "1 2 3 4 5 6"
    else:
        text = f"{asked['instruction']} {{name}}"
    return orjson.dumps({"improved_text": text}).decode()


def test_the_examples_about_texts_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with lmpipe.using(lm=lmpipe.ScriptedLM(improve)):
        names = run_examples(examples_of("optimize_text.md"), tmp_path)
    assert names["run"].best == "[0-9]{4}"
    assert names["run"].run.test.improved
    assert names["packed"] == "1 2 3 4 5 6"
    assert all("{name}" in text for text in names["both"].values())


def test_typed_functions_have_a_body_that_type_checkers_accept() -> None:
    functions = [
        item
        for block in blocks(read_page("signatures.md"))
        for item in ast.parse(block).body
        if isinstance(item, ast.FunctionDef)
        and any("lmpipe.predict" in ast.unparse(one) for one in item.decorator_list)
    ]
    assert functions
    # The checkers' tests have the same body; mypy refuses `...` as one (empty-body).
    assert [ast.unparse(item.body[-1]) for item in functions] == ["raise NotImplementedError"]


@pytest.mark.parametrize(
    "line",
    [
        line
        for page in (README, read_page("calls.md"))
        for block in blocks(page, "sh")
        for line in block.splitlines()
    ],
)
def test_the_commands_and_their_options_exist(line: str) -> None:
    from lmpipe.cli import app

    words = line.partition("#")[0].split()
    assert words[0] == "lmpipe"
    command = words[1:3] if words[1] == "cache" else words[1:2]
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    known = result.output
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert [option for option in options if option not in known] == []


def test_the_options_in_the_text_exist() -> None:
    from lmpipe.cli import app

    commands = get_command(app).commands.values()  # type: ignore[attr-defined]
    known = {option for command in commands for item in command.params for option in item.opts}
    pages = [README, *map(read_page, ("calls.md", "compiling.md", "evaluating.md", "lms.md"))]
    prose = re.sub(r"^```.*?^```$", "", "\n".join(pages), flags=re.M | re.S)
    used = set(re.findall(r"`[^`\n]*?(--[a-z-]+)", prose)) - {"--lm-record"}  # pytest's
    assert used <= known


def test_the_first_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^ {4}make ([\w-]+)", README, re.M):
        assert f"\n{target}:" in makefile


def test_the_guide_says_what_happens_to_effects_in_a_search() -> None:
    (said,) = re.findall(
        r"^- \*\*Side effects do not surprise\.\*\*.*?(?=^- |^$)",
        read_page("compiling.md"),
        re.M | re.S,
    )
    words = " ".join(said.split())
    assert "hundreds of times" in words
    assert "What `forward` does by itself happens in every run." in words


def test_the_examples_about_dspy_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scripted = scripted_lm(lambda turn: {"team": "shipping", "reasoning": "a parcel"})
    with lmpipe.using(lm=scripted):
        names = run_examples(examples_of("dspy.md"), tmp_path)
    assert names["evaluation"].score == 0.0  # that LM needs a demonstration
    assert names["run"].scores["validation"] == names["theirs"].scores["validation"] == 1.0
