"""Encoding vectors as text and decoding them."""

from __future__ import annotations

import base64
import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from helpers.embeddings import decode_vector
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.vectors import (
    decode_bytes,
    dimension_of,
    encode_vector,
    join_vectors,
    similarity,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
vectors = st.lists(numbers, min_size=1, max_size=40)


@given(vectors)
def test_a_decoded_vector_has_unit_length(values: list[float]) -> None:
    text = encode_vector(values)
    read = decode_vector(text)
    assert dimension_of(text) == len(read) == len(values)
    if any(values):
        assert math.hypot(*read) == pytest.approx(1.0, abs=2e-3)
    else:
        assert not any(read)


@given(vectors)
def test_encoding_a_decoded_vector_again_loses_nothing(values: list[float]) -> None:
    # The values are half floats already, so none is rounded.
    read = decode_vector(encode_vector(values))
    packed = struct.pack(f"<{len(read)}e", *read)
    assert decode_bytes(encode_vector(values)) == packed


# Scaling smaller numbers gives 0, which changes the vector.
shorter = st.floats(-10, 10).map(lambda value: value if abs(value) > 1e-200 else 0.0)


@given(st.lists(shorter, min_size=1, max_size=40), st.floats(1e-6, 1e6))
def test_the_length_of_a_vector_does_not_matter(values: list[float], factor: float) -> None:
    once, scaled = encode_vector(values), encode_vector([value * factor for value in values])
    assert decode_vector(once) == pytest.approx(decode_vector(scaled), abs=1e-3)


def test_the_bytes_are_little_endian_half_floats() -> None:
    assert decode_bytes(encode_vector([3.0, 4.0])) == np.array([0.6, 0.8], dtype="<f2").tobytes()


def test_huge_and_tiny_numbers_keep_their_direction() -> None:
    assert decode_vector(encode_vector([1e300, 1e300])) == decode_vector(encode_vector([1, 1]))
    assert decode_vector(encode_vector([5e-324, 0.0])) == [1.0, 0.0]


@given(st.lists(vectors, max_size=5))
def test_joined_vectors_are_concatenated(several: list[list[float]]) -> None:
    texts = [encode_vector(values) for values in several]
    assert decode_bytes(join_vectors(texts)) == b"".join(map(decode_bytes, texts))


@given(vectors, st.randoms(use_true_random=False))
def test_products_of_unit_vectors_are_exact_in_any_order(values: list[float], rng: object) -> None:
    one = decode_vector(encode_vector(values))
    other = decode_vector(encode_vector(values[::-1]))
    products = [a * b for a, b in zip(one, other, strict=True)]
    rng.shuffle(products)  # type: ignore[attr-defined]
    exact = sum(Fraction(a) * Fraction(b) for a, b in zip(one, other, strict=True))
    assert Fraction(sum(products)) == exact


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_invalid_vectors_are_not_encoded(values: list[float]) -> None:
    with pytest.raises(ValueError, match="one or more finite numbers"):
        encode_vector(values)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("!", "not base64"),
        ("AAAA\n", "not base64"),
        (encoded(b"\x00"), "1 bytes"),
        (encoded(struct.pack("<2e", 0.5, math.inf)), "not finite"),
        (encoded(struct.pack("<2e", math.nan, 0.5)), "not finite"),
    ],
)
def test_damaged_text_is_rejected(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_vector(text)


def test_similarity_is_the_cosine_of_the_angle() -> None:
    east, north, west = (encode_vector(v) for v in ([2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]))
    assert similarity(east, east) == 1.0
    assert similarity(east, north) == 0.0
    assert similarity(east, west) == -1.0
    assert similarity(east, encode_vector([1.0, 1.0])) == pytest.approx(0.7071, abs=1e-3)
