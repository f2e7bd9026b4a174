"""Vectors as text: scaled to unit length, as little-endian half floats in base64.

Half floats are multiples of 2**-24, so the dot product of two unit vectors is exact in a double.
Nearest neighbors are therefore the same on every machine, in any order of summation.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Sequence
from math import fsum, isfinite, sqrt

_BYTES = 2  # per value


def encode_vector(values: Sequence[float]) -> str:
    """Encode a vector, scaled to unit length. A zero vector is not scaled.

    Raises:
        ValueError: if it is empty or a value is not finite.
    """
    numbers = [float(value) for value in values]
    largest = max(map(abs, numbers), default=0.0)
    if not numbers or not all(map(isfinite, numbers)):
        raise ValueError("a vector needs one or more finite numbers")
    # Scale by the largest value first: the squares of very large or small values are out of range.
    scaled = [number / largest for number in numbers] if largest else numbers
    length = sqrt(sum(number * number for number in scaled)) or 1.0
    packed = struct.pack(f"<{len(scaled)}e", *(number / length for number in scaled))
    return base64.b64encode(packed).decode()


def decode_bytes(text: str) -> bytes:
    """Decode the half floats of `encode_vector` or `join_vectors` to bytes.

    Raises:
        ValueError: if the text is not base64 of finite half floats.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the vectors are not base64: {error}") from error
    if len(data) % _BYTES:
        raise ValueError(f"the vectors have {len(data)} bytes, but half floats have {_BYTES} each")
    # Infinity and NaN have an exponent of all ones.
    if any(high & 0x7C == 0x7C for high in set(data[1::_BYTES])):
        raise ValueError("a vector has a value that is not finite")
    return data


def dimension_of(text: str) -> int:
    """Count the numbers of an encoded vector; see `decode_bytes`."""
    return len(decode_bytes(text)) // _BYTES


def similarity(one: str, other: str) -> float:
    """Compute the cosine similarity of two encoded vectors of the same length, from -1 to 1."""
    pairs = zip(_numbers(one), _numbers(other), strict=True)
    return fsum(first * second for first, second in pairs)


def _numbers(text: str) -> tuple[float, ...]:
    data = decode_bytes(text)
    return struct.unpack(f"<{len(data) // _BYTES}e", data)


def join_vectors(texts: Iterable[str]) -> str:
    """Concatenate encoded vectors into one text."""
    return base64.b64encode(b"".join(map(decode_bytes, texts))).decode()
