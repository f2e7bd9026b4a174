"""Texts that a prompt layout could mistake for its own marks, and what layouts keep of them."""

from __future__ import annotations

from typing import Any

import pydantic
from hypothesis import strategies as st

from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec

# Lines that look like a part of some layout, escaped or not, and of replies in general.
_LINES = [
    *("", "[[a]]", "[[b]]", "[[question]]", "\\[[a]]", "\\\\[[b]]", "[[A]]", "[[a]]: x"),
    *("[[[a]]]", "[[", "[[a", "[[1,2],[3]]", " [[a]]", "[[a]] ", "[[a]]\r", "\\[[x]\\]"),
    *("##a", "#", "## b", "# A", "a", "A:", "b: x", "B: x", "\\A: 1", "\\\\B: x", " b: 1"),
    *("Question: ?", "Question two: x", "**A:** x", "**a**", "- a: x", "{", "}"),
    *('{"a":"x","b":"y"}', "```", "```python", "~~~", "none", "    x = 1"),
    *("<a>", "</a>", "<b>", "</b> ", "<A>", "\\</a>", "\\\\<b>", " </a>", "x </a> y", "<a>x</a>"),
    *(
        "</question>",
        "<a/>",
        "<",
        "<a",
        "</",
        "<![CDATA[",
        "\\<![CDATA[x",
        "]]>",
        "&lt;",
        "<!-- -->",
    ),
    *(" ", "\t", "\r", "\u2028", "\x85"),
]
odd_texts = st.lists(st.sampled_from(_LINES) | st.text(max_size=4), max_size=6).map("\n".join)


def kept(text: str) -> str:
    """Return what the text layouts keep of a text: all but outer blank lines and spaces."""
    text = text.rstrip()
    inside = text.lstrip()
    blank = text[: len(text) - len(inside)]
    indentation = blank[len(blank.rstrip(" \t")) :]
    return inside if indentation == " " else indentation + inside


def outputs_spec(**annotations: Any) -> SignatureSpec:
    """Make a signature from a question to outputs of these types."""
    fields: dict[str, Any] = {name: (kind, Output()) for name, kind in annotations.items()}
    made = pydantic.create_model("Made", __base__=Signature, question=(str, Input()), **fields)
    return spec_of(made)
