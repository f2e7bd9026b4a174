"""The report page: self-contained, escaped, and true to the run folder."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.fake_server import FakeServer
from helpers.world import NameColour, answer, answer_body, recipe, student, things

import lmpipe
from lmpipe.errors import ArtifactError
from lmpipe.lm.runtime import Runtime
from lmpipe.report import write_report
from lmpipe.report.text import money

HOSTILE = '<script>alert("x")</script><img src=http://evil/x>'


class Reader(HTMLParser):
    """Collects tags and attributes, and checks that tags are closed in order."""

    void = frozenset({"meta", "br", "img", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.void:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


def page_of(run: lmpipe.Run) -> str:
    return write_report(run.path).read_text()


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert not reader.opened
    return reader


@pytest.fixture
def run(tmp_path: Path) -> lmpipe.Run:
    return lmpipe.compile(recipe(), runs=tmp_path)


def test_the_page_needs_nothing_from_elsewhere(run: lmpipe.Run) -> None:
    page = page_of(run)
    reader = read(page)
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert not {"src", "href"} & {name for name, _ in reader.attributes}
    assert "@import" not in page
    assert "url(" not in page


def test_the_page_shows_the_final_comparison(run: lmpipe.Run) -> None:
    page = page_of(run)
    assert run.test is not None
    assert f"{100 * run.test.evaluations['compiled'].score:.1f}%" in page
    assert f"{100 * run.test.difference:+.1f} points" in page


def test_every_candidate_is_in_table_and_chart(run: lmpipe.Run) -> None:
    page = page_of(run)
    for candidate in run.candidates:
        assert page.count(f"<td>{candidate.name}</td>") >= 1
        assert f"<title>{candidate.name}: " in page


def test_retrieved_demonstrations_are_told_and_some_are_shown(tmp_path: Path) -> None:
    pool = tuple(
        lmpipe.Demo(inputs={"thing": f"{HOSTILE} pool {n}."}, outputs={"colour": "red"})
        for n in range(20)
    )
    program = lmpipe.Predict(NameColour)
    retrieval = lmpipe.Retrieval(pool=pool, k=3, balanced=True)
    program = program.bind(program.state().map(retrieval=retrieval))
    helped = lmpipe.ScriptedLM(
        lambda request: answer(request) if " pool " in str(request.messages) else "## colour\nblue"
    )
    page = page_of(lmpipe.compile(recipe(program=program, student=helped), runs=tmp_path))
    assert not {"script", "img"} & set(read(page).tags)
    assert "3 nearest of 20 demonstrations, per input, balanced over the labels" in page
    assert ">3 nearest of 20</td>" in page
    assert " pool 0." in page
    assert " pool 19." not in page


def test_the_chart_counts_rollouts_too(run: lmpipe.Run) -> None:
    shown = [int(calls) for calls in re.findall(r"after (\d+) calls</title>", page_of(run))]
    assert shown == sorted(shown)
    assert shown[-1] > sum(candidate.evaluation.calls for candidate in run.candidates)


def test_hostile_text_is_escaped_wherever_it_comes_from(tmp_path: Path) -> None:
    rows = [
        lmpipe.Example(thing=f"{HOSTILE} sky number {n}", colour=HOSTILE).with_inputs("thing")
        for n in range(6)
    ]
    program = lmpipe.Predict("thing -> colour", instruction=HOSTILE)
    run = lmpipe.compile(
        recipe(
            program=program,
            train=things(12),
            test=rows,
            name=HOSTILE.replace("/", ""),
            student=lmpipe.ScriptedLM(lambda request: f"## colour\n{HOSTILE}"),
        ),
        runs=tmp_path,
    )
    reader = read(page_of(run))
    assert not {"script", "img"} & set(reader.tags)


def test_fixed_and_broken_rows_show_before_and_after(run: lmpipe.Run) -> None:
    assert run.test is not None
    after = run.test.evaluations["compiled"].values
    before = run.test.evaluations[run.test.baseline].values
    pairs = list(zip(before, after, strict=True))
    page = page_of(run)
    assert page.count('class="row fixed"') == sum(b < a for b, a in pairs)
    assert "<dt>gold colour</dt>" in page
    assert page.count('class="row broken"') == sum(b > a for b, a in pairs)


def test_a_compile_that_learned_a_baseline_has_no_changed_rows(tmp_path: Path) -> None:
    flat = lmpipe.ScriptedLM(lambda request: "## colour\nblue")
    run = lmpipe.compile(recipe(student=flat), runs=tmp_path)
    assert "0 better, 0 worse, 40 as before" in page_of(run)


def test_a_compile_without_a_test_set_has_a_page(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(test=None), runs=tmp_path)
    assert "Not tested" in page_of(run)


def test_an_unfinished_run_has_a_page_too(tmp_path: Path) -> None:
    with pytest.raises(lmpipe.errors.LmpipeError):
        lmpipe.compile(recipe(budget=lmpipe.Budget(calls=3)), runs=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert "failed" in write_report(folder).read_text()


def test_a_torn_last_line_is_left_out(run: lmpipe.Run) -> None:
    with (run.path / "candidates.jsonl").open("a") as file:
        file.write('{"number": 9')
    assert "What was learned" in page_of(run)


def test_a_damaged_line_is_named(run: lmpipe.Run) -> None:
    with (run.path / "scores.jsonl").open("a") as file:
        file.write("oops\n")
    with pytest.raises(ArtifactError, match=r"scores\.jsonl:\d+ is damaged"):
        write_report(run.path)


def test_the_page_says_where_the_money_went(tmp_path: Path) -> None:
    run = lmpipe.compile(
        recipe(
            student=student(price=(1.0, 3.0)), teacher=student(price=(5.0, 9.0), name="teacher")
        ),
        runs=tmp_path,
    )
    page = page_of(run)
    for spend in (*run.account.by_role.values(), *run.account.by_lm.values()):
        assert f'<td class="n">{money(spend.usd)}</td>' in page
    assert f"{run.account.total.fresh_calls} LM calls" in page


def test_an_unknown_price_is_no_zero_on_the_page(tmp_path: Path) -> None:
    runtime = Runtime()
    with FakeServer(answer_body) as server, lmpipe.using(runtime=runtime):
        own = lmpipe.LM("vllm/own", base_url=server.base_url)
        run = lmpipe.compile(recipe(student=own), runs=tmp_path)
        runtime.close()
    page = page_of(run)
    assert "$0.00" not in page
    assert "The price of vllm/own is unknown" in page


def test_no_secret_reaches_the_page_or_the_manifest(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(student=student(api_key="sk-very-secret")), runs=tmp_path)
    page_of(run)
    for file in run.path.iterdir():
        assert "sk-very-secret" not in file.read_text()


def test_the_page_names_what_the_run_rests_on(run: lmpipe.Run) -> None:
    page = page_of(run)
    manifest = json.loads((run.path / "manifest.json").read_text())
    for value in (manifest["artifact"], manifest["metric"]["fingerprint"], manifest["recipe"]):
        assert value in page


def test_dropped_candidates_are_crosses_apart_from_the_line_of_the_best(run: lmpipe.Run) -> None:
    page = page_of(run)
    dropped = [candidate for candidate in run.candidates if candidate.dropped]
    assert dropped
    assert page.count('class="cross"') == page.count('<tr class="dropped">') == len(dropped)
    assert page.count('<circle class="dot') - len(dropped) < len(run.candidates) + 4
    assert "A cross is a candidate that was dropped on the way" in page
    assert f"Racing saved {run.racing.runs} of {run.racing.of} runs" in page


def test_without_dropped_candidates_the_page_speaks_of_none(tmp_path: Path) -> None:
    page = page_of(lmpipe.compile(recipe(racing=None), runs=tmp_path))
    assert "dropped" not in page.partition("</style>")[2]


def test_train_validation_and_test_stand_side_by_side(run: lmpipe.Run) -> None:
    page = page_of(run)
    assert run.train is not None
    for name in ("train", "validation", "test"):
        assert f'<td class="w">{name}</td>' in page
    assert run.validation_estimate is not None
    assert f"{100 * run.validation_estimate:.1f}% (out-of-bag bootstrap)" in page
