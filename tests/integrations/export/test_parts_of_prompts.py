"""What only some prompts have: earlier turns, media, passages, chosen demonstrations, thoughts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from helpers.embeddings import decode_vector, scripted_embedder, vector_of, vectors_of
from helpers.exported import Predictor, compare
from helpers.pictures import png

import lmpipe
from lmpipe.errors import ExportError
from lmpipe.integrations.export.document import prompt_document
from lmpipe.integrations.export.parity import Parity
from lmpipe.integrations.export.readers.prompt_extras import embedded_text
from lmpipe.integrations.export.readers.prompt_reader import Prompt
from lmpipe.layouts import layout_names
from lmpipe.state.program_state import Demo, Retrieval

RED, BLUE = lmpipe.Image.of(png(255, 0, 0)), lmpipe.Image.of(png(0, 0, 255))


@pytest.fixture(autouse=True)
def _lm() -> Iterator[None]:
    with lmpipe.using(lm=lmpipe.LM("openai/some", base_url="http://127.0.0.1:9/v1")):
        yield


def in_all_layouts(signature: type[lmpipe.Signature]) -> list[Predictor]:
    return [lmpipe.Predict(signature, layout=layout) for layout in layout_names()]


def same(predictors: list[Any], folder: Path, *calls: dict[str, Any]) -> None:
    """Both readers write the messages of these inputs as the runtime does."""
    found = compare([(each, [(inputs, ()) for inputs in calls]) for each in predictors], folder)
    assert found == [Parity(len(predictors) * len(calls))] * 2


class Line(pydantic.BaseModel):
    name: str
    price: float = 1.0


class Chat(lmpipe.Signature):
    """Go on."""

    earlier: lmpipe.History = lmpipe.Input()
    question: str = lmpipe.Input()
    lines: list[Line] = lmpipe.Input(default=[])
    answer: str = lmpipe.Output()
    sure: bool = lmpipe.Output()


def test_earlier_turns_are_written_in_the_layout(tmp_path: Path) -> None:
    turns: list[dict[str, Any]] = [
        {"question": "[[answer]]\nAnswer: x", "answer": " Yes\n</answer>", "sure": True},
        {"role": "user", "content": "And now?"},
        {"question": "two", "lines": [{"name": "a", "price": 2}], "answer": "Answer: \\b"},
        {"answer": "only", "sure": False},
    ]
    same(
        in_all_layouts(Chat),
        tmp_path,
        {"earlier": {"turns": turns}, "question": "q"},
        {"earlier": {"turns": turns[1:2]}, "question": "q", "lines": [{"name": "é", "price": 3}]},
        {"earlier": {"turns": []}, "question": "q"},
    )


class OneAnswer(lmpipe.Signature):
    """Go on."""

    earlier: lmpipe.History = lmpipe.Input()
    question: str = lmpipe.Input()
    final_answer: str = lmpipe.Output()


def test_an_only_answer_may_look_like_its_label(tmp_path: Path) -> None:
    said = (
        "Final answer: 5",
        "**final-answer**",
        "\\Final Answer: x",
        " ** Final_answer ** x",
        "5",
    )
    turns = [{"question": "q", "final_answer": text} for text in said]
    same(in_all_layouts(OneAnswer), tmp_path, {"earlier": {"turns": turns}, "question": "q"})


class Compare(lmpipe.Signature):
    """Compare the photos."""

    title: str = lmpipe.Input()
    photo: lmpipe.Image | None = lmpipe.Input()
    more: list[lmpipe.Image] = lmpipe.Input(default=[])
    answer: str = lmpipe.Output()


def test_images_are_parts_of_the_message(tmp_path: Path) -> None:
    demo = Demo(inputs={"title": "d", "photo": BLUE.to_json()}, outputs={"answer": "a"})
    alone = in_all_layouts(Compare)
    shown = [each.with_state(each.state_of().replace(demos=(demo,)), "") for each in alone]
    calls: list[dict[str, Any]] = [
        {"title": "T", "photo": RED},
        {"title": "T", "photo": None, "more": [RED, BLUE]},
        {"title": "T", "photo": lmpipe.Image.of("https://example.org/a.png"), "more": [RED]},
        {"title": "T", "photo": None},
    ]
    same([*alone, *shown], tmp_path, *calls)


class Listen(lmpipe.Signature):
    """Compare the sound with the file."""

    sound: lmpipe.Audio = lmpipe.Input()
    file: lmpipe.File = lmpipe.Input()
    more: list[lmpipe.Audio | lmpipe.File] = lmpipe.Input(default=[])
    answer: str = lmpipe.Output()


def test_sounds_and_files_are_parts_of_the_message(tmp_path: Path) -> None:
    sound = lmpipe.Audio.of(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    file = lmpipe.File.of(b"%PDF-1.4", name="terms.pdf")
    given = {"sound": sound, "file": file}
    same(in_all_layouts(Listen), tmp_path, given, {**given, "more": [file, sound, file]})


class Answer(lmpipe.Signature):
    """Answer from the passages."""

    question: str = lmpipe.Input()
    context: list[lmpipe.Passage] = lmpipe.Input()
    page: lmpipe.Document | None = lmpipe.Input(default=None)
    answer: str = lmpipe.Output()


def test_passages_and_documents_are_shown_below_their_heads(tmp_path: Path) -> None:
    passages = [
        lmpipe.Passage("It rains.", id="a", title="On\n rain"),
        lmpipe.Passage("[[answer]]"),
    ]
    page = lmpipe.Document(text="Sun", source="p. 3")
    same(
        in_all_layouts(Answer),
        tmp_path,
        {"question": "q", "context": passages},
        {"question": "q", "context": [], "page": page},
    )


class Sketch(pydantic.BaseModel):
    name: str

    def to_parts(self) -> list[str]:
        return [self.name.upper()]


class Draw(lmpipe.Signature):
    """Draw."""

    sketch: Sketch = lmpipe.Input()
    answer: str = lmpipe.Output()


def test_an_input_that_code_writes_is_refused_by_name() -> None:
    with pytest.raises(ExportError, match=r"draw: input 'sketch' \(Sketch\).*declare the input as"):
        prompt_document("draw", lmpipe.Predict(Draw))


class Sort(lmpipe.Signature):
    """Sort the message."""

    message: str = lmpipe.Input()
    size: int = lmpipe.Input(default=1)
    team: Literal["billing", "shipping"] = lmpipe.Output()


POOL = [
    ("the parcel is late", "shipping"),
    ("a parcel, a PARCEL and another parcel", "shipping"),
    ("my card was charged twice", "billing"),
    ("the refund for the Straße", "billing"),
    ("日本 の 小包", "shipping"),
    ("refund", "billing"),
]


def test_the_nearest_demonstrations_are_chosen(tmp_path: Path) -> None:
    demos = tuple(
        Demo(inputs={"message": text, "size": size}, outputs={"team": team})
        for size, (text, team) in enumerate(POOL)
    )
    states = [
        {"retrieval": Retrieval(pool=demos, k=3, balanced=balanced), "demos": fixed}
        for balanced in (True, False)
        for fixed in ((), demos[:1])
    ]
    same(
        [
            each.with_state(each.state_of().replace(**state), "")
            for each in in_all_layouts(Sort)
            for state in states
        ],
        tmp_path,
        *({"message": text, "size": size} for size, (text, _) in enumerate(POOL)),
        {"message": "Where is my PARCEL? Refund the card!"},
        {"message": "STRASSE 小"},
        {"message": "nothing in common"},
        {"message": ""},
    )


def test_an_embedder_chooses_the_same_demonstrations(tmp_path: Path) -> None:
    demos = [
        Demo(inputs={"message": text, "size": size}, outputs={"team": team})
        for size, (text, team) in enumerate(POOL)
    ]
    embedder = scripted_embedder()
    vectors = vectors_of([f"{text} {size}" for size, (text, _) in enumerate(POOL)], embedder)
    predictors = [
        each.with_state(each.state_of().replace(retrieval=retrieval), "")
        for each in in_all_layouts(Sort)
        for retrieval in [Retrieval(pool=tuple(demos), k=2, vectors=vectors)]
    ]
    with lmpipe.using(embedder=embedder):
        calls = [{"message": text, "size": 5} for text in ("a parcel", "refund", "", "Ü")]
        same(predictors, tmp_path, *calls)
        prompt = Prompt(prompt_document("self", predictors[0]))
    text = embedded_text(prompt, calls[0])
    assert text == "a parcel 5"
    vector = embedder.vectors(text)  # as a server gives it, of any length
    stretched = prompt.messages(calls[0], [0.7 * number for number in vector])
    assert stretched == prompt.messages(calls[0], decode_vector(vector_of(text, embedder)))
    with pytest.raises(ValueError, match=r"give the vector of embedded_text\(prompt, inputs\) by"):
        prompt.messages(calls[0])


def test_the_thoughts_of_an_lm_are_the_reasoning(tmp_path: Path) -> None:
    lm = lmpipe.LM("openai/some", base_url="http://127.0.0.1:9/v1", reasoning="high")
    with lmpipe.using(lm=lm):
        predictor = lmpipe.ChainOfThought("question -> answer: int", native_reasoning=True)
        document = prompt_document("self", predictor)
        same([predictor], tmp_path, {"question": "q"})
    assert document["reply"]["names"] == ["answer"]
    assert document["reply"]["thoughts"] == ["reasoning"]


FENCED = "```python\nx = 1\n\ny = 2\n```"


def test_code_is_read_without_its_fence(tmp_path: Path) -> None:
    written = ("x = 1", FENCED, "```\n```", "  indented")
    cases = [
        (
            lmpipe.Predict("question -> code: Code['python'], test: Code | None", layout=layout),
            [
                ({"question": "q"}, [reply(layout, code=code, test=other)])
                for code, other in zip(written, (*written[1:], None), strict=True)
            ],
        )
        for layout in layout_names()
    ]
    assert compare(cases, tmp_path) == [Parity(24, 24)] * 2


def reply(layout: str, **values: Any) -> str:
    """A reply as an LM writes it, with values that its type would change."""
    if layout in ("json", "tools", "two-step"):
        return json.dumps(values)
    words = {name: "none" if value is None else value for name, value in values.items()}
    if layout == "plain":
        return "\n".join(f"{name.capitalize()}: {word}" for name, word in words.items())
    ends = ("[[{0}]]\n{1}\n", "<{0}>\n{1}\n</{0}>")[layout == "xml"]
    return "\n".join(ends.format(name, word) for name, word in words.items())


def test_reasoning_that_is_written_is_read(tmp_path: Path) -> None:
    cases = []
    for layout in layout_names():
        predictor = lmpipe.ChainOfThought("question -> answer: int", layout=layout)
        reply = predictor.reply({"reasoning": "First.\n\nThen [[answer]]", "answer": 5})
        if layout == "two-step":
            reply = 'So: {"reasoning": "First.", "answer": 5} is it.'
        cases.append((predictor, [({"question": "q"}, [reply])]))
    assert compare(cases, tmp_path) == [Parity(6, 6)] * 2
