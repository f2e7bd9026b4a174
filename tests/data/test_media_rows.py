"""Rows of data that name images by their paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.pictures import PDF, png

import lmpipe
from lmpipe.data.media_rows import with_media
from lmpipe.errors import DataError

PNG = png()


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[lmpipe.Example]:
    return lmpipe.read_examples(path, inputs=["photo"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in (("a.png", PNG), ("b.png", PNG), ("c.png", png(0, 0, 255)), ("d.pdf", PDF)):
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_an_image_is_read_from_a_path_beside_the_data_file(folder: Path) -> None:
    (row,) = read(write(folder, {"photo": {"image": {"path": "a.png"}}}))
    assert lmpipe.Image.model_validate(row.photo) == lmpipe.Image.of(PNG)


def test_images_in_lists_and_objects_are_read(folder: Path) -> None:
    image = {"image": {"path": "a.png"}}
    (row,) = read(write(folder, {"photo": [{"front": image, "note": "n"}]}))
    assert row.photo == [{"front": lmpipe.Image.of(PNG).to_json(), "note": "n"}]


def test_a_row_is_known_by_the_content_of_its_image(folder: Path) -> None:
    paths = ("a.png", "b.png", "c.png")
    rows = read(write(folder, *({"photo": {"image": {"path": path}}} for path in paths)))
    in_memory = lmpipe.Example(photo=lmpipe.Image.of(PNG)).with_inputs("photo")
    assert [row == in_memory for row in rows] == [True, True, False]


def test_bytes_in_the_row_are_the_same_image(folder: Path) -> None:
    data = lmpipe.Image.of(PNG).to_json()["image"]["data"]
    inline, named = read(
        write(folder, {"photo": {"image": {"data": data}}}, {"photo": {"image": {"path": "a.png"}}})
    )
    assert inline == named


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"path": "none.png"}, r"rows.jsonl:1: .*none.png: an image cannot be read: No such file"),
        ({"path": "d.pdf"}, r"rows.jsonl:1: d.pdf: not an image: the bytes are application/pdf"),
        ({"data": "§"}, r"rows.jsonl:1: the data of a medium are not base64"),
    ],
)
def test_a_wrong_image_is_an_error_of_its_line(folder: Path, content: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read(write(folder, {"photo": {"image": content}}))


def test_images_of_a_parquet_file_are_read(folder: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    values = [{"bytes": PNG, "path": "a.png"}, {"bytes": PDF, "path": None}]
    parquet.write_table(arrow.table({"photo": values}), folder / "rows.parquet")
    rows = read(folder / "rows.parquet")
    assert [row.photo for row in rows] == [
        lmpipe.Image.of(PNG).to_json(),
        lmpipe.File.of(PDF).to_json(),
    ]


def test_an_image_of_pil_in_a_row_is_the_same_image() -> None:
    pil = pytest.importorskip("PIL.Image")
    drawn = pil.new("RGB", (2, 2), "red")
    rows = [lmpipe.Example(photo=photo) for photo in (drawn, lmpipe.Image.of(drawn))]
    assert rows[0] == rows[1]


def test_the_repr_of_a_row_has_no_bytes(folder: Path) -> None:
    (row,) = read(write(folder, {"photo": {"image": {"path": "a.png"}}}))
    assert f"<image image/png, {len(PNG)} bytes" in repr(row)


def test_a_url_is_not_read(folder: Path) -> None:
    value = {"image": {"url": "https://example.org/a.png"}}
    (row,) = read(write(folder, {"photo": value}))
    assert row.photo == value


def test_other_objects_with_a_path_stay(folder: Path) -> None:
    value = {"image": {"path": "a.png"}, "size": 3}
    (row,) = read(write(folder, {"photo": value}))
    assert row.photo == value


def test_paths_are_left_as_they_are_when_asked(folder: Path) -> None:
    value = {"image": {"path": "none.png"}}
    path = write(folder, {"photo": value})
    (row,) = lmpipe.read_examples(path, inputs=["photo"], media=False)
    assert row.photo == value


def test_labels_are_not_read(folder: Path) -> None:
    value = {"file": {"path": "none.py"}}
    (row,) = read(write(folder, {"photo": "x", "change": value}))
    assert row.change == value


@pytest.mark.parametrize("path", ["/etc/passwd", "a.txt"])
def test_a_row_from_the_hub_cannot_name_a_file_of_this_machine(path: str) -> None:
    with pytest.raises(DataError, match="in a data set from the hub is not read"):
        with_media({"paper": [{"file": {"path": path}}]}, None)


def test_the_repr_of_a_row_with_a_list_of_images_has_no_bytes() -> None:
    row = lmpipe.Example(photos=[lmpipe.Image.of(PNG).to_json()], place=(1, 2))
    assert "iVBOR" not in repr(row)
    assert "place=(1, 2)" in repr(row)
