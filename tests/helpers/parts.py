"""Strategies for messages with parts."""

from __future__ import annotations

from hypothesis import strategies as st

from lmpipe.lm.message import Message
from lmpipe.lm.parts import (
    DocumentPart,
    MediaPart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    ToolSpec,
)

_words = st.sampled_from(["", "a", "b\n", "é ☃", '{"', "</think>", "shared " * 10])
_text_parts = st.builds(TextPart, _words)
_media = st.builds(
    MediaPart,
    st.sampled_from(["image", "audio", "file"]),
    st.sampled_from(["image/png", "audio/wav", "application/pdf"]),
    data=st.binary(min_size=1, max_size=20),
    name=st.sampled_from(["", "a.pdf"]),
    detail=st.sampled_from(["", "low"]),
) | st.builds(
    MediaPart, st.sampled_from(["image", "file"]), st.just(""), url=st.just("https://a.example/b")
)
_calls = st.builds(ToolCall, st.sampled_from(["1", "call_2"]), st.just("look"), _words)
_results = st.builds(
    ToolResult,
    st.sampled_from(["1", "call_2"]),
    _words | st.lists(_text_parts | _media, min_size=1, max_size=3).map(tuple),
    st.booleans(),
)
_thoughts = st.builds(ReasoningPart, _words, st.sampled_from(["", "c2ln"]))
_documents = st.builds(DocumentPart, _words, st.sampled_from(["", "Rome"]), _words)

parts: st.SearchStrategy[Part] = _text_parts | _media | _documents | _calls | _results | _thoughts

messages = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    _words | st.lists(parts, max_size=4).map(tuple),
)

tools = st.lists(
    st.builds(ToolSpec, st.sampled_from(["look", "add"]), _words, st.just('{"type":"object"}')),
    max_size=2,
).map(tuple)
