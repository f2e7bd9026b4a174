"""Responses read from bytes, however these are cut."""

from __future__ import annotations

import gzip
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.http.errors import BrokenError, HttpError, ProtocolError
from lmpipe.lm.http.parser import MAX_HEAD, ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(*pieces: bytes, ended: bool = False, bodiless: bool = False) -> ResponseParser:
    """A parser that has been fed these pieces, as a connection feeds it."""
    parser = ResponseParser(bodiless=bodiless)
    for piece in pieces:
        if not parser.done:
            parser.feed(piece)
    if ended and not parser.done:
        parser.end()
    return parser


def body_of(data: bytes, *, ended: bool = False) -> bytes:
    parser = read(data, ended=ended)
    assert parser.done
    return parser.take()


def outcome(pieces: list[bytes]) -> Any:
    try:
        parser = read(*pieces, ended=True)
    except HttpError as error:
        return type(error)
    return parser.status, dict(parser.headers), parser.take()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


# --- what is read


def test_a_body_of_known_length() -> None:
    assert body_of(OK + b"Content-Length: 3\r\n\r\nabc") == b"abc"


def test_a_body_in_chunks_with_extensions_and_trailers() -> None:
    chunks = b'3;name="x"\r\nabc\r\nA\r\n0123456789\r\n0\r\nDigest: y\r\n\r\n'
    assert body_of(CHUNKED + chunks) == b"abc0123456789"


def test_a_body_that_ends_with_the_connection() -> None:
    parser = read(OK + b"\r\nabc", b"def", ended=True)
    assert (parser.take(), parser.reusable) == (b"abcdef", False)


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    head = f"HTTP/1.1 {status} x\r\nContent-Length: 7\r\n\r\n"
    assert read(head.encode()).reusable


def test_the_answer_to_head_has_no_body() -> None:
    assert read(OK + b"Content-Length: 7\r\n\r\n", bodiless=True).done


def test_interim_responses_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    parser = read(interim + OK + b"Content-Length: 0\r\n\r\n")
    assert (parser.status, dict(parser.headers)) == (200, {"content-length": "0"})


def test_headers_are_found_in_any_case_and_joined() -> None:
    headers = read(OK + b"Retry-After:  7 \r\nVIA: a\r\nvia:b\r\nContent-Length: 0\r\n\r\n").headers
    assert (headers["retry-after"], headers.get("Via"), headers.get("x")) == ("7", "a, b", None)


def test_the_media_type_is_told_without_its_parameters() -> None:
    head = OK + b"Content-Type: Text/Event-Stream; charset=utf-8\r\n\r\n"
    assert read(head).headers.media_type == "text/event-stream"


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (b"gzip", gzip.compress(b"abc" * 99, mtime=0)),
        (b"gzip", gzip.compress(b"abc" * 33, mtime=0) + gzip.compress(b"abc" * 66, mtime=0)),
        (b"deflate", zlib.compress(b"abc" * 99)),
        (b"deflate", raw_deflate(b"abc" * 99)),
        (b"identity", b"abc" * 99),
    ],
)
def test_a_packed_body_is_unpacked(encoding: bytes, packed: bytes) -> None:
    head = OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(packed))
    assert body_of(head + packed) == b"abc" * 99
    assert read(head, *(packed[i : i + 1] for i in range(len(packed)))).take() == b"abc" * 99


# --- whether the connection can be used again


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: x, close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_a_connection_is_kept_as_the_head_says(head: bytes, reusable: bool) -> None:
    assert read(head + b"Content-Length: 1\r\n\r\nx").reusable is reusable


def test_a_connection_with_something_left_on_it_is_not_kept() -> None:
    assert not read(OK + b"Content-Length: 1\r\n\r\nxy").reusable


def test_a_connection_with_a_doubtful_length_is_not_kept() -> None:
    head = OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
    parser = read(head + b"0\r\n\r\n")
    assert (parser.done, parser.reusable) == (True, False)


# --- what is refused


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nB: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1_0\r\n\r\n",
        OK + b"Content-Length: \xb2\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\n",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        OK
        + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n"
        + gzip.compress(b"x", mtime=0)[:12],
        OK + b"A: " + b"x" * MAX_HEAD,
        CHUNKED + b"-1\r\n",
        CHUNKED + b"0x5\r\n",
        CHUNKED + b"1\r\nabc",
        CHUNKED + b"1;" + b"x" * 5000,
        CHUNKED + b"0\r\n" + b"A: b\r\n" * 20_000,
    ],
)
def test_what_is_no_response_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(data)


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 2", OK + b"Content-Length: 3\r\n\r\nab", CHUNKED + b"3\r\nabc\r\n"]
)
def test_a_response_that_is_not_over_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenError) as caught:
        read(*([data] if data else []), ended=True)
    assert caught.value.unanswered is not data.startswith(b"H")


# --- cut anywhere

TOKENS = st.text("abcXYZ-09", min_size=1, max_size=8).map(str.encode)
VALUES = st.text("abc,; 09\xe9", max_size=9).map(lambda text: text.encode("latin-1"))
OTHERS = st.lists(st.tuples(TOKENS.map(lambda name: b"X-" + name), VALUES), max_size=4)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Right responses of all kinds."""
    body = draw(st.binary(max_size=60))
    headers = draw(OTHERS)
    if packed := draw(st.sampled_from([b"", b"gzip", b"deflate"])):
        headers.append((b"Content-Encoding", packed))
        body = gzip.compress(body, mtime=0) if packed == b"gzip" else zlib.compress(body)
    kind = draw(st.sampled_from(["length", "chunked", "end"]))
    if kind == "length":
        headers.append((b"content-length", b"%d" % len(body)))
    if kind == "chunked":
        headers.append((b"transfer-encoding", b"Chunked"))
        size = draw(st.integers(1, 20))
        parts = [body[i : i + size] for i in range(0, len(body), size)]
        chunks = [b"%x;e=1\r\n%b\r\n" % (len(part), part) for part in parts]
        body = b"".join(chunks) + b"0\r\n" + draw(st.sampled_from([b"", b"T: x\r\n"])) + b"\r\n"
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n"]))
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return interim + OK + lines + b"\r\n" + body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


@given(responses(), st.lists(st.integers(0, 10_000), max_size=8))
def test_where_a_response_is_cut_makes_no_difference(data: bytes, places: list[int]) -> None:
    whole = outcome([data])
    assert whole[0] == 200
    assert outcome(cut(data, places)) == whole == outcome(cut(data, list(range(len(data)))))


@given(
    st.sampled_from([b"", b"HTTP/1.1 ", OK, CHUNKED, CHUNKED + b"3\r\n"]),
    st.lists(
        st.binary(max_size=9)
        | st.sampled_from([b"\r\n", b"\r\n\r\n", b"Content-Length: 2", b"0", b": "]),
        max_size=8,
    ),
    st.lists(st.integers(0, 10_000), max_size=5),
)
def test_any_bytes_are_read_or_refused(start: bytes, rest: list[bytes], places: list[int]) -> None:
    data = start + b"".join(rest)
    assert outcome(cut(data, places)) == outcome([data] if data else [])
