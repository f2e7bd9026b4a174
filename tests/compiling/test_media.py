"""Compiles of a program whose inputs are images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.pictures import colour_of, png
from typer.testing import CliRunner

import lmpipe
from lmpipe.cli import app
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.parts import MediaPart
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import exact_match
from lmpipe.report.page import write_report

_PNG = "iVBORw0KGgo"  # how every PNG begins, in base64
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class NameColour(lmpipe.Signature):
    """Which colour is the picture?"""

    picture: lmpipe.Image = lmpipe.Input()
    colour: str = lmpipe.Output()


def images_in(request: Request) -> list[bytes]:
    contents = [m.content for m in request.messages if not isinstance(m.content, str)]
    return [p.data for content in contents for p in content if isinstance(p, MediaPart)]


def imitating(request: Request) -> str:
    """Name a colour if a demonstration shows a picture of it, and red otherwise."""
    *shown, asked = images_in(request)
    names = {value: name for name, value in COLOURS.items()}
    seen = {colour_of(image) for image in shown}
    colour = colour_of(asked)
    return f"[[colour]]\n{names[colour] if colour in seen else 'red'}"


def rows(*, start: int, count: int = 9) -> list[lmpipe.Example]:
    """Pictures of different sizes, so that no two are the same."""
    made = []
    for number in range(start, start + count):
        name = sorted(COLOURS)[number % 3]
        picture = lmpipe.Image.of(png(*COLOURS[name], side=number + 1))
        made.append(lmpipe.Example(picture=picture, colour=name).with_inputs("picture"))
    return made


@pytest.fixture(scope="module")
def recipe() -> lmpipe.Recipe:
    return lmpipe.Recipe(
        program=lmpipe.Predict(NameColour),
        train=rows(start=0, count=12),
        val=rows(start=20),
        test=rows(start=40),
        metric=exact_match("colour"),
        optimizer=lmpipe.RandomSearch(candidates=3, demos=6, bootstrapped=2),
        student=lmpipe.ScriptedLM(imitating),
    )


@pytest.fixture(scope="module")
def run(recipe: lmpipe.Recipe, tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    return lmpipe.compile(recipe, runs=tmp_path_factory.mktemp("runs"))


def test_its_demonstrations_hold_images(run: lmpipe.Run) -> None:
    (state,) = run.state.predictors.values()
    kinds = {type(lmpipe.Image.model_validate(demo.inputs["picture"])) for demo in state.demos}
    assert kinds == {lmpipe.Image}


def test_the_demonstrations_help(run: lmpipe.Run) -> None:
    assert run.test is not None
    assert run.test.evaluations["compiled"].score == 1.0


def test_the_loaded_program_sends_the_images(run: lmpipe.Run) -> None:
    lm = lmpipe.ScriptedLM(imitating)
    with lmpipe.using(lm=lm):
        loaded: Any = lmpipe.load(run.path, lmpipe.Predict(NameColour))
        assert loaded(picture=lmpipe.Image.of(png(0, 0, 255, side=90))).colour == "blue"
    assert len(images_in(lm.requests[0])) > 1


def test_a_second_compile_gives_the_same_bytes(
    recipe: lmpipe.Recipe, run: lmpipe.Run, tmp_path: Path
) -> None:
    again = lmpipe.compile(recipe, runs=tmp_path, concurrency=2)
    first, second = (found.path / "program.json" for found in (run, again))
    assert first.read_bytes() == second.read_bytes()


def test_a_compile_from_files_gives_the_same_demonstrations(
    recipe: lmpipe.Recipe, run: lmpipe.Run, tmp_path: Path
) -> None:
    """An image is known by its content, wherever it is."""
    sets = {}
    for name in ("train", "val", "test"):
        lines = []
        for number, row in enumerate(getattr(recipe, name)):
            (tmp_path / f"{name}{number}.png").write_bytes(row.picture.data)
            path = f'{{"image": {{"path": "{name}{number}.png"}}}}'
            lines.append(f'{{"picture": {path}, "colour": "{row.colour}"}}\n')
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
        sets[name] = lmpipe.Source(tmp_path / f"{name}.jsonl", inputs=["picture"])
    again = lmpipe.compile(recipe.replace(**sets), runs=tmp_path / "runs")
    assert again.state == run.state


def test_it_replays_from_its_cassette(recipe: lmpipe.Recipe, tmp_path: Path) -> None:
    written = []
    for mode in ("rewrite", "none"):
        asked: list[Request] = []

        def seeing(request: Request, asked: list[Request] = asked) -> str:
            asked.append(request)
            return imitating(request)

        cassette = Cassette(tmp_path / "calls.jsonl", mode=mode)  # type: ignore[arg-type]
        runtime = Runtime(store=cassette)
        with lmpipe.using(runtime=runtime), cassette:
            made = recipe.replace(student=lmpipe.ScriptedLM(seeing))
            run = lmpipe.compile(made, runs=tmp_path / mode)
        runtime.close()
        written.append((bool(asked), (run.path / "program.json").read_bytes()))
    assert [fresh for fresh, _ in written] == [True, False]
    assert written[0][1] == written[1][1]


@pytest.mark.parametrize("name", ["scores.jsonl", "traces.jsonl"])
def test_records_have_no_bytes_of_images(run: lmpipe.Run, name: str) -> None:
    text = (run.path / name).read_text(encoding="utf-8")
    assert ("sha256" in text, _PNG in text) == (True, False)


def test_the_report_has_no_bytes_of_images(run: lmpipe.Run) -> None:
    text = write_report(run.path).read_text(encoding="utf-8")
    assert ("image/png" in text, _PNG in text) == (True, False)


def test_the_listing_of_what_was_learned_has_no_bytes_of_images(run: lmpipe.Run) -> None:
    shown = CliRunner().invoke(app, ["show", str(run.path)]).stdout
    assert ("<image image/png" in shown, _PNG in shown) == (True, False), shown
