"""Calls with images: what is sent, what is found again in the cache, and what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.pictures import colour_of, png

import lmpipe
from lmpipe.data.identity import ExampleIdentity
from lmpipe.errors import RecipeError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.parts import MediaPart
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.metrics import exact_match
from lmpipe.state.program_state import Demo, Retrieval
from lmpipe.weights.rows import training_rows

RED, GREEN, BLUE = png(255, 0, 0), png(0, 255, 0), png(0, 0, 255)
NAMES = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue"}


class NameColour(lmpipe.Signature):
    """Which colour is the picture?"""

    picture: lmpipe.Image = lmpipe.Input()
    colour: str = lmpipe.Output()


def images_in(request: Request) -> list[bytes]:
    contents = [m.content for m in request.messages if not isinstance(m.content, str)]
    return [p.data for content in contents for p in content if isinstance(p, MediaPart)]


def seeing(request: Request) -> str:
    """Name the colour of the last image."""
    return f"[[colour]]\n{NAMES[colour_of(images_in(request)[-1])]}"


def demo(data: bytes, colour: str) -> Demo:
    return Demo(inputs={"picture": lmpipe.Image.of(data).to_json()}, outputs={"colour": colour})


def showing(**changes: Any) -> Any:
    program = lmpipe.Predict(NameColour)
    return program.bind(program.state().map(**changes))


def test_the_lm_sees_the_image() -> None:
    with lmpipe.using(lm=lmpipe.ScriptedLM(seeing)):
        assert lmpipe.Predict(NameColour)(picture=lmpipe.Image.of(GREEN)).colour == "green"


def test_a_typed_function_takes_an_image() -> None:
    @lmpipe.predict
    def colour(picture: lmpipe.Image) -> str:
        """Which colour is it?"""
        raise NotImplementedError

    with lmpipe.using(
        lm=lmpipe.ScriptedLM(lambda request: f"[[result]]\n{len(images_in(request))}")
    ):
        assert colour(lmpipe.Image.of(RED)) == "1"


async def test_acall_and_samples_see_it() -> None:
    with lmpipe.using(lm=lmpipe.ScriptedLM(seeing)):
        program = lmpipe.Predict(NameColour)
        results = [
            await program.acall(picture=lmpipe.Image.of(BLUE)),
            *await program.asamples(2, picture=lmpipe.Image.of(BLUE)),
        ]
    assert [result.colour for result in results] == ["blue"] * 3


def test_the_same_picture_at_another_path_comes_from_the_cache(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(RED)
    lm = lmpipe.ScriptedLM(seeing)
    runtime = Runtime(store=Cache(tmp_path / "cache"))
    with lmpipe.using(lm=lm, runtime=runtime):
        for name in ("a.png", "b.png"):
            lmpipe.Predict(NameColour)(picture=lmpipe.Image.of(tmp_path / name))
        lmpipe.Predict(NameColour)(picture=lmpipe.Image.of(BLUE))
    runtime.close()
    assert len(lm.requests) == 2


def test_a_result_holds_the_image() -> None:
    with lmpipe.using(lm=lmpipe.ScriptedLM(seeing)):
        result = lmpipe.Predict(NameColour)(picture=lmpipe.Image.of(RED))
    assert result.picture == lmpipe.Image.of(RED)


@pytest.mark.parametrize(
    "changes",
    [
        {"demos": (demo(RED, "red"), demo(BLUE, "blue"))},
        {"retrieval": Retrieval(pool=(demo(RED, "red"), demo(BLUE, "blue")), k=2)},
    ],
    ids=["fixed", "near"],
)
def test_a_run_on_an_image_is_not_shown_its_own_demonstration(changes: dict[str, Any]) -> None:
    row = lmpipe.Example(picture=lmpipe.Image.of(RED), colour="red").with_inputs("picture")
    with scope(example=ExampleIdentity.of(row)):
        messages = showing(**changes).messages(picture=lmpipe.Image.of(RED))
    assert [m.text for m in messages if m.role == "assistant"] == ["[[colour]]\nblue"]


def test_weights_are_not_trained_on_images() -> None:
    program = showing()
    trace = lmpipe.Trace()
    with lmpipe.using(lm=lmpipe.ScriptedLM(seeing)), scope(trace=trace):
        program(picture=lmpipe.Image.of(RED))
    with pytest.raises(RecipeError, match="weights are trained on text"):
        training_rows(program, [trace])


def test_evaluate_reads_images_from_the_paths_of_a_data_file(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name, data in (("red", RED), ("blue", BLUE)):
        (tmp_path / "pictures" / f"{name}.png").write_bytes(data)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            f'{{"picture": {{"image": {{"path": "pictures/{name}.png"}}}}, "colour": "{name}"}}\n'
            for name in ("red", "blue")
        )
    )
    examples = lmpipe.read_examples(rows, inputs=["picture"])
    result = lmpipe.evaluate(
        lmpipe.Predict(NameColour), examples, exact_match("colour"), lm=lmpipe.ScriptedLM(seeing)
    )
    assert result.score == 1.0
