"""Types that say which parts show their values, and where such types are found."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NewType, Optional, TypedDict

import pydantic
import pytest
from helpers.pictures import png

import lmpipe
from lmpipe.errors import CallError
from lmpipe.lm.parts import MediaPart, TextPart
from lmpipe.signatures.field_types.parts import has_parts, holds


class Slide(pydantic.BaseModel):
    """A user's own type."""

    title: str
    picture: lmpipe.Image

    def to_parts(self) -> Sequence[str | lmpipe.Image]:
        return (f"Slide {self.title}: ", self.picture, " (end)")


class Node(pydantic.BaseModel):
    picture: lmpipe.Image | None = None
    children: list[Node] = []


class Row(TypedDict):
    picture: lmpipe.Image


@dataclasses.dataclass
class Pair:
    left: str
    right: lmpipe.Audio


@pytest.mark.parametrize(
    "annotation",
    [
        lmpipe.Image,
        Optional[lmpipe.File],  # noqa: UP045 - another form
        list[dict[str, lmpipe.Image]],
        Slide,
        Node,
        Row,
        Pair,
        tuple[int, Pair | None],
        NewType("Photo", lmpipe.Image),
    ],
)
def test_types_with_parts_are_found(annotation: Any) -> None:
    assert holds(annotation, has_parts)


class Plain(pydantic.BaseModel):
    text: str
    others: list[Plain]


@pytest.mark.parametrize("annotation", [str, list[int], dict[str, Any], Plain, None, Any])
def test_other_types_have_none(annotation: Any) -> None:
    assert not holds(annotation, has_parts)


class Explain(lmpipe.Signature):
    """Explain."""

    slide: Slide = lmpipe.Input()
    others: list[Slide] = lmpipe.Input(default=[])
    answer: str = lmpipe.Output()


PNG = png()
SLIDE = Slide(title="one", picture=lmpipe.Image.of(PNG))


def test_a_users_own_type_is_shown_as_its_parts() -> None:
    content = lmpipe.Predict(Explain, layout="plain").messages(slide=SLIDE)[-1].content
    assert content == (
        TextPart("Slide: Slide one: "),
        MediaPart("image", "image/png", PNG),
        TextPart(" (end)\nOthers: []"),
    )


def test_in_a_list_they_are_numbered_with_their_images() -> None:
    content = lmpipe.Predict(Explain, layout="plain").messages(slide=SLIDE, others=[SLIDE])[-1]
    assert content.content[2:] == (
        TextPart(" (end)\nOthers: [1] Slide one: "),
        MediaPart("image", "image/png", PNG),
        TextPart(" (end)"),
    )


class Broken(pydantic.BaseModel):
    def to_parts(self) -> Any:
        return ["text", 5]


def test_parts_that_are_neither_text_nor_media_are_refused() -> None:
    with pytest.raises(CallError, match=r"Broken\.to_parts\(\) gave 5: give texts"):
        lmpipe.Predict("thing: Broken -> answer").messages(thing=Broken())


def test_inside_of_json_its_images_follow_the_text() -> None:
    content = (
        lmpipe.Predict(Explain, layout="json").messages(slide=SLIDE, others=[SLIDE])[-1].content
    )
    assert content == (
        TextPart(
            '{"slide":"Slide one: <image 1> (end)","others":["Slide one: <image 2> (end)"]}'
            "\n\n<image 1>\n"
        ),
        MediaPart("image", "image/png", PNG),
        TextPart("\n\n<image 2>\n"),
        MediaPart("image", "image/png", PNG),
    )
