"""Vectors as text: unit length, little-endian half floats in base64.

Half floats are multiples of 2**-24, so a sum of products of two unit vectors is exact in a double:
what is nearest to what is the same on every machine, whatever order it adds up in.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Sequence
from math import isfinite, sqrt

_BYTES = 2  # of one number


def encode_vector(values: Sequence[float]) -> str:
    """Spell a vector, scaled to unit length; one of nothing but zeros stays as it is.

    Raises:
        ValueError: if it is empty, or one of its values is no finite number.
    """
    numbers = [float(value) for value in values]
    largest = max(map(abs, numbers), default=0.0)
    if not numbers or not all(map(isfinite, numbers)):
        raise ValueError("a vector is one finite number or more")
    # By the largest number first: squares of very large and very small ones are out of range.
    scaled = [number / largest for number in numbers] if largest else numbers
    length = sqrt(sum(number * number for number in scaled)) or 1.0
    packed = struct.pack(f"<{len(scaled)}e", *(number / length for number in scaled))
    return base64.b64encode(packed).decode()


def decode_bytes(text: str) -> bytes:
    """The bytes of what `encode_vector` or `join_vectors` spelled.

    Raises:
        ValueError: if it is no base64 of finite half floats.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the vectors are no base64: {error}") from error
    if len(data) % _BYTES:
        raise ValueError(f"the vectors have {len(data)} bytes, which are no half floats")
    # The exponent of one that is infinite or no number has all bits set.
    if any(high & 0x7C == 0x7C for high in set(data[1::_BYTES])):
        raise ValueError("a vector holds a number that is not finite")
    return data


def decode_vector(text: str) -> list[float]:
    """The numbers of what `encode_vector` spelled.

    Raises:
        ValueError: if it is something else.
    """
    data = decode_bytes(text)
    return list(struct.unpack(f"<{len(data) // _BYTES}e", data))


def dimension_of(text: str) -> int:
    """How many numbers a spelled vector has.

    Raises:
        ValueError: if it is no vector.
    """
    return len(decode_bytes(text)) // _BYTES


def join_vectors(texts: Iterable[str]) -> str:
    """Spell several vectors, one after the other."""
    return base64.b64encode(b"".join(map(decode_bytes, texts))).decode()
