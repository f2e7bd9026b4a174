"""Which rows are the same example."""

from __future__ import annotations

import threading

import lmpipe
from lmpipe.data.identity import ExampleIdentity, inputs_digest


def of(**values: object) -> ExampleIdentity:
    return ExampleIdentity.of(lmpipe.Example(**values, label="x").with_inputs(*values))


def test_rows_with_the_same_inputs_are_the_same_example_whatever_their_labels() -> None:
    one, two = (
        lmpipe.Example(a=1, b="x", label=label).with_inputs("a", "b") for label in ("yes", "no")
    )
    assert ExampleIdentity.of(one) == ExampleIdentity.of(two)
    assert of(a=1, b="x") != of(a=2, b="x")
    assert of(a=1) != of(b=1)


def test_the_order_of_the_inputs_does_not_matter() -> None:
    assert of(a=1, b=2) == of(b=2, a=1)


def test_an_example_without_inputs_has_no_digest() -> None:
    assert of() == ExampleIdentity()


def test_an_example_that_cannot_be_written_as_json_has_no_digest() -> None:
    assert of(lock=threading.Lock()) == ExampleIdentity()


def test_numbers_and_texts_beyond_json_have_an_identity() -> None:
    assert of(a=2**80) != of(a=2**80 + 1)
    assert of(a="\ud83d") != of(a="\ud83e")


def test_the_digest_has_sixteen_digits() -> None:
    assert len(inputs_digest({"a": 1})) == 16


def test_inputs_that_are_nested_too_deeply_have_no_digest() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert of(a=deep) == ExampleIdentity()


def test_an_image_is_the_same_example_whatever_its_name_and_detail() -> None:
    data = b"GIF89a..."
    images = [lmpipe.Image.of(data), lmpipe.Image.of(data, name="cat.gif")]
    images.append(lmpipe.Image(data=data, detail="low"))
    digests = {
        ExampleIdentity.of(lmpipe.Example(photo=image).with_inputs("photo")).digest
        for image in images
    }
    assert len(digests) == 1


def test_images_of_other_bytes_or_urls_are_other_examples() -> None:
    sources: list[bytes | str] = [
        b"GIF89a1",
        b"GIF89a2",
        "https://a.example/1",
        "https://b.example",
    ]
    assert len({inputs_digest({"x": lmpipe.Image.of(one).to_json()}) for one in sources}) == 4
