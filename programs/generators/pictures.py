"""Pictures of shapes, with questions about them: `python -m programs.generators.pictures`.

A picture is a grid of coloured shapes. `read_picture` finds them again in its pixels, so that every
answer can be computed from the picture alone.
"""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from programs.json_lines import DATA, Rows, write_files

SEED = 20
SIZES = {"train": 30, "val": 30, "test": 40}

Colour: TypeAlias = Literal["red", "green", "blue", "yellow"]
Form: TypeAlias = Literal["square", "circle", "triangle"]
Place: TypeAlias = tuple[int, int]
Shapes: TypeAlias = Mapping[Place, tuple[Colour, Form]]

_COLOURS: dict[Colour, bytes] = {
    "red": b"\xd0\x20\x20",
    "green": b"\x20\x90\x30",
    "blue": b"\x20\x40\xd0",
    "yellow": b"\xf0\xc8\x10",
}
_FORMS: tuple[Form, ...] = ("square", "circle", "triangle")
_WHITE = b"\xff\xff\xff"
_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "centre", "right")
_CELL, _HALF = 32, 12  # pixels of a cell, and from the middle of a shape to its edge
_SIDE = 3 * _CELL


def draw_picture(shapes: Shapes) -> bytes:
    """Draw shapes on white, as a PNG."""
    lines = [b"\x00" + b"".join(_pixel(shapes, x, y) for x in range(_SIDE)) for y in range(_SIDE)]
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pixel(shapes: Shapes, x: int, y: int) -> bytes:
    shape = shapes.get((y // _CELL, x // _CELL))
    across, down = x % _CELL - _CELL // 2, y % _CELL - _CELL // 2
    if shape is None or not _covers(shape[1], across, down):
        return _WHITE
    return _COLOURS[shape[0]]


def _covers(form: Form, across: int, down: int) -> bool:
    if form == "circle":
        return across**2 + down**2 <= _HALF**2
    width = _HALF if form == "square" else (down + _HALF) // 2
    return abs(across) <= width and abs(down) <= _HALF


def read_picture(png: bytes) -> Shapes:
    """Find the shapes in the pixels of a picture that `draw_picture` made."""
    start = png.index(b"IDAT") + 4
    pixels = zlib.decompress(png[start : png.index(b"IEND") - 8])
    found: dict[Place, tuple[Colour, Form]] = {}
    for place in [(row, column) for row in range(3) for column in range(3)]:
        middle = _at(pixels, place, 0, 0)
        for colour, value in _COLOURS.items():
            if middle == value:
                found[place] = (colour, _form_at(pixels, place, value))
    return found


def _at(pixels: bytes, place: Place, across: int, down: int) -> bytes:
    row, column = place
    y, x = _CELL * row + _CELL // 2 + down, _CELL * column + _CELL // 2 + across
    first = y * (3 * _SIDE + 1) + 1 + 3 * x
    return pixels[first : first + 3]


def _form_at(pixels: bytes, place: Place, colour: bytes) -> Form:
    """A square has all of its corners, a triangle the lower ones, a circle none."""
    corner = _HALF - 1
    if _at(pixels, place, -corner, corner) != colour:
        return "circle"
    return "square" if _at(pixels, place, -corner, -corner) == colour else "triangle"


def questions_about(shapes: Shapes) -> dict[str, str]:
    """All questions about the shapes of a picture, with their answers."""
    asked = {}
    for colour in _COLOURS:
        count = sum(found == colour for found, _ in shapes.values())
        asked[f"How many shapes are {colour}?"] = str(count)
    for form in _FORMS:
        count = sum(found == form for _, found in shapes.values())
        asked[f"How many {form}s are there?"] = str(count)
    for (row, column), (colour, form) in shapes.items():
        where = f"in the {_ROWS[row]} row, in the {_COLUMNS[column]} column"
        asked[f"Which colour has the shape {where}?"] = colour
        asked[f"Which form has the shape {where}?"] = form
    return asked


def write_picture(rng: random.Random) -> tuple[bytes, str, str]:
    """Draw a picture, and ask a question about it: the picture, the question and the answer."""
    places = [(row, column) for row in range(3) for column in range(3)]
    shapes: Shapes = {
        place: (rng.choice(tuple(_COLOURS)), rng.choice(_FORMS))
        for place in sorted(rng.sample(places, rng.randint(3, 7)))
    }
    question, answer = rng.choice(list(questions_about(shapes).items()))
    return draw_picture(shapes), question, answer


def files() -> dict[str, Rows]:
    """Make the rows of every file by its name; no picture is in two of them."""
    rng = random.Random(SEED)
    drawn: dict[bytes, dict[str, Any]] = {}
    while len(drawn) < sum(SIZES.values()):
        png, question, answer = write_picture(rng)
        data = base64.b64encode(png).decode()
        drawn[png] = {
            "picture": {"image": {"data": data, "media_type": "image/png"}},
            "question": question,
            "answer": answer,
        }
    waiting = iter(drawn.values())
    return {
        f"pictures_{split}.jsonl": [next(waiting) for _ in range(size)]
        for split, size in SIZES.items()
    }


if __name__ == "__main__":
    write_files(DATA, files())
