"""What proposers are shown has no bytes of images."""

from __future__ import annotations

from helpers.pictures import png

import lmpipe
from lmpipe.optimize.shared.proposer_text import describe_demos, describe_examples
from lmpipe.state.program_state import Demo

IMAGE = lmpipe.Image.of(png())
SHOWN = f'"<image image/png, {len(IMAGE.data)} bytes, '


def test_examples_describe_their_images() -> None:
    assert SHOWN in describe_examples([lmpipe.Example(photo=IMAGE, colour="red")])


def test_demonstrations_describe_their_images() -> None:
    demo = Demo(inputs={"photo": [IMAGE.to_json()]}, outputs={"colour": "red"})
    assert SHOWN in describe_demos([demo])
