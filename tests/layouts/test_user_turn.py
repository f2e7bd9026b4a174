"""User turns with media, and turns of a history, in every layout."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers.pictures import PDF, png
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import CallError
from lmpipe.layouts import layout_names
from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, TextPart
from lmpipe.state.program_state import Demo

RED, BLUE = lmpipe.Image.of(png(255, 0, 0)), lmpipe.Image.of(png(0, 0, 255))


class Compare(lmpipe.Signature):
    """Compare the photos."""

    title: str = lmpipe.Input()
    photo: lmpipe.Image | None = lmpipe.Input()
    question: str = lmpipe.Input()
    more: list[lmpipe.Image] = lmpipe.Input(default=[])
    answer: str = lmpipe.Output()


def part(image: lmpipe.Image) -> MediaPart:
    return MediaPart("image", "image/png", image.data)


def last(layout: str, **inputs: Any) -> Any:
    return lmpipe.Predict(Compare, layout=layout).messages(**inputs)[-1].content


def test_an_image_stands_below_its_marker() -> None:
    content = last("chat", title="T", photo=RED, question="Q")
    assert content == (
        TextPart("[[title]]\nT\n\n[[photo]]\n"),
        part(RED),
        TextPart(
            "\n\n[[question]]\nQ\n\n[[more]]\n[]\n\nReply with the outputs only, starting with "
            "the marker [[answer]]."
        ),
    )


def test_an_image_stands_after_its_label() -> None:
    content = last("plain", title="T", photo=RED, question="Q")
    assert content == (
        TextPart("Title: T\nPhoto: "),
        part(RED),
        TextPart("\nQuestion: Q\nMore: []"),
    )


def test_json_names_an_image_that_follows() -> None:
    content = last("json", title="T", photo=RED, question="Q")
    assert content == (
        TextPart('{"title":"T","photo":"<image 1>","question":"Q","more":[]}\n\n<image 1>\n'),
        part(RED),
    )


def test_images_in_a_list_are_named_and_follow() -> None:
    content = last("plain", title="T", photo=None, question="Q", more=[RED, BLUE])
    assert content == (
        TextPart(
            'Title: T\nPhoto: none\nQuestion: Q\nMore: ["<image 1>","<image 2>"]\n\n<image 1>\n'
        ),
        part(RED),
        TextPart("\n\n<image 2>\n"),
        part(BLUE),
    )


@pytest.mark.parametrize("layout", layout_names())
def test_a_turn_without_media_is_a_text(layout: str) -> None:
    assert isinstance(last(layout, title="T", photo=None, question="Q"), str)


TEXTS = st.text(max_size=30) | st.sampled_from(
    ["mediumq0q", "mediumxq1q", "[[photo]]", "<image 1>"]
)


@given(
    layout=st.sampled_from(layout_names()),
    title=TEXTS,
    question=TEXTS,
    photo=st.none() | st.just(RED),
    more=st.lists(st.sampled_from([RED, BLUE]), max_size=3),
)
def test_the_texts_around_images_are_those_of_the_layout(
    layout: str, title: str, question: str, photo: Any, more: list[lmpipe.Image]
) -> None:
    content = last(layout, title=title, question=question, photo=photo, more=more)
    parts = (TextPart(content),) if isinstance(content, str) else content
    assert [p for p in parts if isinstance(p, MediaPart)] == [
        part(image) for image in ([photo] if photo else []) + more
    ]

    class Named(lmpipe.Signature):
        """Compare the photos."""

        title: str = lmpipe.Input()
        photo: str = lmpipe.Input()
        question: str = lmpipe.Input()
        more: list[str] = lmpipe.Input()
        answer: str = lmpipe.Output()

    # What remains is what the layout writes of texts in place of the images.
    in_json = parts[0].text.startswith("{")  # type: ignore[union-attr]
    alone = bool(photo) and not in_json
    names = [f"<image {number}>" for number in range(1, len(more) + 2)]
    written = lmpipe.Predict(Named, layout=layout).messages(
        title=title,
        question=question,
        photo="" if alone else names.pop(0) if photo else "none",
        more=names[: len(more)],
    )
    shown = "".join(p.text for p in parts if isinstance(p, TextPart))
    follow = "".join(f"\n\n<image {n}>\n" for n in range(1, len(more) + bool(photo) - alone + 1))
    expected = written[-1].text
    if not photo and in_json:
        expected = expected.replace('"photo":"none"', '"photo":null')
    reminder = re.search(r"\n\nReply with the outputs only[^\n]*$", expected)
    end = reminder[0] if reminder else ""
    assert shown == expected.removesuffix(end) + follow + end


@pytest.mark.parametrize("layout", layout_names())
def test_demonstrations_have_images(layout: str) -> None:
    program = lmpipe.Predict(Compare, layout=layout)
    demo = Demo(
        inputs={"title": "D", "photo": RED.to_json(), "question": "?", "more": []},
        outputs={"answer": "red"},
    )
    bound = program.bind(program.state().map(demos=(demo,)))
    shown = bound.messages(title="T", photo=BLUE, question="Q")
    media = [p for m in shown if not isinstance(m.content, str) for p in m.content]
    assert [p for p in media if isinstance(p, MediaPart)] == [part(RED), part(BLUE)]


def test_no_input_can_look_like_an_image() -> None:
    words = " ".join(f"medium{'x' * length}q0q" for length in range(200))
    words += f" mediumq{'1' * 5000}q"
    content = last("plain", title=words, photo=RED, question="Q")
    assert content[:2] == (TextPart(f"Title: {words}\nPhoto: "), part(RED))


def test_a_file_and_a_url_become_parts() -> None:
    program = lmpipe.Predict("paper: File, photo: Image -> answer", layout="plain")
    url = "https://example.org/a.png"
    content = program.messages(paper=lmpipe.File.of(PDF, name="a.pdf"), photo=url)[-1].content
    assert content == (
        TextPart("Paper: "),
        MediaPart("file", "application/pdf", PDF, name="a.pdf"),
        TextPart("\nPhoto: "),
        MediaPart("image", "", url=url),
    )


class Chat(lmpipe.Signature):
    """Answer."""

    history: lmpipe.History = lmpipe.Input(default=lmpipe.History())
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


TURNS = lmpipe.History.of(
    {"question": "a?", "answer": "A."},
    {"role": "user", "content": "thanks"},
    {"role": "assistant", "content": "welcome"},
)


def test_a_history_is_turns_of_their_own_before_the_question() -> None:
    messages = lmpipe.Predict(Chat, layout="plain").messages(question="b?", history=TURNS)
    assert messages[1:] == (
        Message("user", "Question: a?"),
        Message("assistant", "A."),
        Message("user", "thanks"),
        Message("assistant", "welcome"),
        Message("user", "Question: b?"),
    )


@pytest.mark.parametrize("layout", layout_names())
def test_no_turn_names_the_history(layout: str) -> None:
    messages = lmpipe.Predict(Chat, layout=layout).messages(question="b?", history=TURNS)
    assert "history" not in "".join(message.text for message in messages).lower()


def test_without_a_history_the_prompt_is_that_of_a_signature_without_one() -> None:
    class Single(lmpipe.Signature):
        """Answer."""

        question: str = lmpipe.Input()
        answer: str = lmpipe.Output()

    shown = lmpipe.Predict(Chat).messages(question="b?")
    assert shown == lmpipe.Predict(Single).messages(question="b?")


@pytest.mark.parametrize(("turns", "reminded"), [(TURNS.turns[:1], False), (TURNS.turns[1:], True)])
def test_the_form_is_reminded_of_if_no_turn_shows_it(turns: Any, reminded: bool) -> None:
    asked = lmpipe.Predict(Chat).messages(question="b?", history=lmpipe.History(turns=turns))
    assert ("Reply with the outputs only" in asked[-1].text) is reminded


def test_a_demonstration_has_its_own_history() -> None:
    program = lmpipe.Predict(Chat, layout="plain")
    demo = Demo(inputs={"question": "c?", "history": TURNS.to_json()}, outputs={"answer": "C."})
    bound = program.bind(program.state().map(demos=(demo,)))
    texts = [message.text for message in bound.messages(question="b?")]
    assert texts[1:] == [
        "Question: a?",
        "A.",
        "thanks",
        "welcome",
        "Question: c?",
        "C.",
        "Question: b?",
    ]


@pytest.mark.parametrize(
    ("turn", "problem"),
    [
        ({"question": "a?"}, "turn 1 of the history has no output"),
        ({"qestion": "a?", "answer": "A."}, "has an unknown 'qestion'"),
    ],
)
def test_a_wrong_turn_is_refused(turn: Any, problem: str) -> None:
    with pytest.raises(CallError, match=problem):
        lmpipe.Predict(Chat).messages(question="b?", history=lmpipe.History.of(turn))


def test_a_wrong_image_in_a_turn_is_refused() -> None:
    program = lmpipe.Predict("history: History, photo: Image -> answer")
    with pytest.raises(CallError, match="turn 1 of the history has a wrong 'photo'"):
        program.messages(history=[{"photo": "a.png", "answer": "red"}], photo=RED)
