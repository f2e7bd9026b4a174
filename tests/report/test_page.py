"""The report page: self-contained, and true to the run folder."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from helpers.fake_server import FakeServer
from helpers.html_page import Page
from helpers.one_compile import WORLD
from helpers.world import NameColour, answer, answer_body, recipe, student, things

import lmpipe
from lmpipe.errors import ArtifactError
from lmpipe.lm.runtime import Runtime
from lmpipe.report.page import write_report
from lmpipe.report.text import money


def page_of(run: lmpipe.Run) -> Page:
    return Page(write_report(run.path).read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    return WORLD.copy(tmp_path, tmp_path_factory)


def test_the_page_needs_no_other_file(run: lmpipe.Run) -> None:
    page = page_of(run)
    assert not {"link", "img", "iframe"} & set(page.tags)
    assert not {"src", "style"} & {name for name, _ in page.attributes}
    assert all((value or "").startswith("#") for name, value in page.attributes if name == "href")
    assert "@import" not in page.html
    assert "url(" not in page.html


def test_a_browser_is_told_to_run_one_script_and_to_load_nothing(run: lmpipe.Run) -> None:
    page = page_of(run)
    (script,) = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert ("content", allowed) in page.attributes


def test_a_page_without_rows_runs_no_script(run: lmpipe.Run) -> None:
    (run.path / "scores.jsonl").write_text("")
    page = page_of(run)
    assert "script" not in page.tags
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_the_page_shows_the_final_comparison(run: lmpipe.Run) -> None:
    page = page_of(run)
    assert run.test is not None
    assert f"{100 * run.test.evaluations['compiled'].score:.1f}%" in page.html
    assert f"{100 * run.test.difference:+.1f} points" in page.html


def test_an_uncertain_result_comes_with_advice(tmp_path: Path) -> None:
    flat = lmpipe.ScriptedLM(lambda request: "## colour\nblue")
    run = lmpipe.compile(recipe(student=flat), runs=tmp_path)
    assert "Not certain: the interval includes zero; keep the declared program" in page_of(run).html


def test_every_candidate_is_in_table_and_chart(run: lmpipe.Run) -> None:
    page = page_of(run)
    rows = page.tables["Candidates"][1:]
    assert len(rows) == len(run.candidates)
    for candidate in run.candidates:
        (row,) = [row for row in rows if row[0] == str(candidate.number)]
        assert row[1].startswith(candidate.name)
        assert f"<title>{candidate.name}: " in page.html


def test_the_page_tells_what_each_stage_of_a_portfolio_gained(
    tmp_path: Path, run: lmpipe.Run
) -> None:
    assert "What each stage gained" not in page_of(run).html
    changes = {"optimizer": lmpipe.Auto(), "trainer": None, "val": things(10, start=100)}
    html = page_of(lmpipe.compile(recipe(**changes), runs=tmp_path / "auto")).html
    assert "What each stage gained on validation" in html
    assert re.search(r"<li>Nearest demonstrations: \+\d+\.\d points for \d+ runs \(95 %", html)


def test_retrieved_demonstrations_are_described_and_some_are_shown(tmp_path: Path) -> None:
    pool = tuple(
        lmpipe.Demo(inputs={"thing": f"pool {n}."}, outputs={"colour": "red"}) for n in range(20)
    )
    program = lmpipe.Predict(NameColour)
    retrieval = lmpipe.Retrieval(pool=pool, k=3, balanced=True)
    program = program.bind(program.state().map(retrieval=retrieval))
    helped = lmpipe.ScriptedLM(
        lambda request: answer(request) if "pool " in str(request.messages) else "## colour\nblue"
    )
    page = page_of(lmpipe.compile(recipe(program=program, student=helped), runs=tmp_path))
    assert "3 nearest of 20 demonstrations, per input, balanced over the labels" in page.html
    assert any("3 nearest of 20 demos" in row[1] for row in page.tables["Candidates"][1:])
    assert "pool 0." in page.html
    assert "pool 19." not in page.html


def test_lessons_are_shown_with_their_counts(tmp_path: Path) -> None:
    program = lmpipe.Predict(NameColour)
    lesson = lmpipe.Lesson(text="The sky is <blue>.", helpful=1200, harmful=1)
    program = program.bind(program.state().map(lessons=(lesson,)))
    page = page_of(lmpipe.compile(recipe(program=program), runs=tmp_path))
    assert "The sky is &lt;blue&gt;." in page.html
    assert "helpful 1,200, harmful 1" in page.html
    assert all("1 lesson" in row[1] for row in page.tables["Candidates"][1:])


def test_learned_descriptions_of_fields_are_shown(tmp_path: Path) -> None:
    program = lmpipe.Predict(NameColour)
    program = program.bind(program.state().map(descriptions={"colour": "<one> of the rainbow"}))
    page = page_of(lmpipe.compile(recipe(program=program), runs=tmp_path))
    assert "<code>colour</code>: &lt;one&gt; of the rainbow" in page.html


def test_the_chart_counts_rollouts_too(run: lmpipe.Run) -> None:
    titles = re.findall(r"after (\d+) LM calls</title>", page_of(run).html)
    shown = sorted(map(int, titles))
    assert shown[-1] > sum(candidate.evaluation.calls for candidate in run.candidates)


def test_changed_rows_show_gold_before_and_after(run: lmpipe.Run) -> None:
    assert run.test is not None
    after = run.test.evaluations["compiled"].values
    before = run.test.evaluations[run.test.baseline].values
    pairs = list(zip(before, after, strict=True))
    page = page_of(run)
    assert page.classes.get("better", 0) == sum(b < a for b, a in pairs)
    assert page.classes.get("worse", 0) == sum(b > a for b, a in pairs)
    columns, values = page.tables["Gold and predicted outputs"][:2]
    assert columns[:2] == ["output", "gold"]
    assert [column.split(",")[0] for column in columns[2:]] == ["before", "after"]
    assert values[0] == "colour"


def test_feedback_is_shown_for_both_programs(run: lmpipe.Run) -> None:
    page = page_of(run)
    assert page.html.count("<dt>feedback before</dt>") > 0
    assert page.html.count("<dt>feedback after</dt>") > 0


def test_a_compile_that_learned_a_baseline_has_no_changed_rows(tmp_path: Path) -> None:
    flat = lmpipe.ScriptedLM(lambda request: "## colour\nblue")
    run = lmpipe.compile(recipe(student=flat), runs=tmp_path)
    assert "0 better, 0 worse, 40 unchanged" in page_of(run).html


def test_a_compile_without_a_test_set_has_a_page(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(test=None), runs=tmp_path)
    assert "Not tested" in page_of(run).html


def test_an_unfinished_run_has_a_page_too(tmp_path: Path) -> None:
    # The budget is enough for the baselines, had the LM not to be asked twice each time.
    mute = lmpipe.ScriptedLM(lambda request: "")
    with pytest.raises(lmpipe.errors.LmpipeError):
        lmpipe.compile(recipe(student=mute, budget=lmpipe.Budget(calls=40)), runs=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert "failed" in write_report(folder).read_text(encoding="utf-8")


def test_a_torn_last_line_is_left_out(run: lmpipe.Run) -> None:
    with (run.path / "candidates.jsonl").open("a") as file:
        file.write('{"number": 9')
    assert "What was learned" in page_of(run).html


def test_a_damaged_line_is_named(run: lmpipe.Run) -> None:
    with (run.path / "scores.jsonl").open("a") as file:
        file.write("oops\n")
    with pytest.raises(ArtifactError, match=r"scores\.jsonl:\d+ is damaged"):
        write_report(run.path)


def test_a_field_of_the_wrong_type_is_named(run: lmpipe.Run) -> None:
    line = json.loads((run.path / "candidates.jsonl").read_text().splitlines()[0])
    with (run.path / "candidates.jsonl").open("a") as file:
        file.write(json.dumps({**line, "score": "high"}) + "\n")
    with pytest.raises(ArtifactError, match=r"candidates\.jsonl:\d+ is damaged: score: .* number"):
        write_report(run.path)


def test_the_page_breaks_spend_down(tmp_path: Path) -> None:
    run = lmpipe.compile(
        recipe(
            student=student(price=(1.0, 3.0)), teacher=student(price=(5.0, 9.0), name="teacher")
        ),
        runs=tmp_path,
    )
    page = page_of(run)
    rows = {row[0]: row[-1] for row in page.tables["Spend by role, predictor and LM"]}
    for name, spend in (*run.account.by_role.items(), *run.account.by_lm.items()):
        assert rows[name] == money(spend.usd)
    assert f"{run.account.total.fresh_calls} LM calls" in page.html


class Weigh(lmpipe.Module):
    """Weigh a thing with a tool, and name its colour."""

    def __init__(self, tool: lmpipe.Tool) -> None:
        self.tool = tool
        self.name = lmpipe.Predict(NameColour)

    async def forward(self, thing: str) -> NameColour:
        await lmpipe.run_tool(self.tool, {"thing": thing})
        return await self.name.acall(thing=thing)


def weigh(thing: str) -> int:
    if thing.endswith("7"):
        raise ValueError("the scales are broken")
    return len(thing)


def test_the_page_counts_the_uses_of_tools(tmp_path: Path) -> None:
    tool = lmpipe.Tool.of(weigh, effects=True, fake=weigh)
    run = lmpipe.compile(recipe(program=Weigh(tool)), runs=tmp_path)
    lines = [json.loads(line) for line in (run.path / "tools.jsonl").read_text().splitlines()]
    errors = sum(line["error"] for line in lines)
    assert errors
    numbers = [str(number) for number in (len(lines), errors, 0, 0, len(lines))]
    assert page_of(run).tables["Uses of tools"][1:] == [["weigh", *numbers]]


def test_a_page_without_tools_has_no_table_of_them(run: lmpipe.Run) -> None:
    assert "Uses of tools" not in page_of(run).tables


def test_an_unknown_price_is_not_shown_as_zero(tmp_path: Path) -> None:
    runtime = Runtime()
    with FakeServer(answer_body) as server, lmpipe.using(runtime=runtime):
        own = lmpipe.LM("vllm/own", base_url=server.base_url)
        run = lmpipe.compile(recipe(student=own), runs=tmp_path)
        runtime.close()
    page = page_of(run)
    assert "$0.00" not in page.html
    assert "The price of vllm/own is unknown" in page.html


def test_no_secret_reaches_the_page_or_the_manifest(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(student=student(api_key="sk-very-secret")), runs=tmp_path)
    page_of(run)
    for file in run.path.iterdir():
        assert "sk-very-secret" not in file.read_text()


def test_the_page_lists_what_the_result_depends_on(run: lmpipe.Run) -> None:
    page = page_of(run)
    manifest = json.loads((run.path / "manifest.json").read_text())
    for value in (manifest["artifact"], manifest["metric"]["fingerprint"], manifest["recipe"]):
        assert value in page.html


def test_dropped_candidates_are_crosses_below_the_scale(run: lmpipe.Run) -> None:
    page = page_of(run)
    dropped = [candidate for candidate in run.candidates if candidate.dropped]
    assert dropped
    assert page.classes["dropped"] == len(dropped)
    assert page.classes["cross"] == len(dropped) * page.classes["view"]  # one drawing for each axis
    assert "A cross is a candidate that was not" in page.html
    assert f"Racing saved {run.racing.runs} of {run.racing.of} runs" in page.html


def test_without_dropped_candidates_the_page_mentions_none(tmp_path: Path) -> None:
    page = page_of(lmpipe.compile(recipe(racing=None), runs=tmp_path))
    assert "dropped" not in page.html.partition("</style>")[2]


def test_train_validation_and_test_are_side_by_side(run: lmpipe.Run) -> None:
    page = page_of(run)
    rows = page.tables["Scores by data set"][1:]
    assert [row[0].split()[0] for row in rows] == ["train", "validation", "test"]
    assert run.validation_estimate is not None
    assert f"{100 * run.validation_estimate:.1f}% (out-of-bag bootstrap)" in page.html


def test_all_but_the_best_of_many_candidates_are_folded(run: lmpipe.Run) -> None:
    file = run.path / "candidates.jsonl"
    first = json.loads(file.read_text().splitlines()[0])
    many = [{**first, "number": 1000 + n} for n in range(60)]
    file.write_text(file.read_text() + "".join(json.dumps(item) + "\n" for item in many))
    page = page_of(run)
    assert len(page.tables["Candidates"][1:]) in (20, 21)  # the winner may be below the best 20
    shown = page.tables["Candidates"][1:] + page.tables["More candidates"][1:]
    assert len(shown) == len(run.candidates) + 60
    assert [row[0] for row in shown].count(str(run.best.number)) == 1


def test_the_words_that_differ_from_the_declared_instruction_are_marked(
    run: lmpipe.Run,
) -> None:
    assert "Words that differ" not in page_of(run).html
    file = run.path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["program"]["instructions"]["self"] = "Which colour does this thing have?"
    file.write_text(json.dumps(manifest))
    assert "<del> this</del><ins> the</ins>" in page_of(run).html


def test_the_search_is_drawn_against_dollars_if_prices_are_known(run: lmpipe.Run) -> None:
    assert "dollars, cached calls" not in page_of(run).html
    file = run.path / "calls.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**line, "usd": 0.25}) + "\n" for line in lines))
    html = page_of(run).html
    assert "Validation score against dollars, cached calls at full price" in html
    file.write_text("".join(json.dumps({**line, "usd": None}) + "\n" for line in lines))
    assert "dollars, cached calls" not in page_of(run).html


@pytest.mark.parametrize("usd", [5e-324, 1.7e308])
def test_amounts_that_no_axis_can_show_have_none(run: lmpipe.Run, usd: float) -> None:
    file = run.path / "calls.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**line, "usd": usd}) + "\n" for line in lines))
    assert "dollars, cached calls" not in page_of(run).html
