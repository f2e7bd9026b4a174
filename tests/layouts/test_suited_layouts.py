"""Which layouts are tried first on an LM."""

from __future__ import annotations

import pytest

import lmpipe
from lmpipe.layouts import layout_names
from lmpipe.layouts.suited_layouts import layouts_for, tried_layouts


@pytest.mark.parametrize(
    ("model", "first"),
    [
        ("local", ("chat", "plain", "json")),
        ("vllm/Qwen/Qwen2.5-7B-Instruct", ("chat", "plain", "json")),
        ("hosted_vllm/Qwen/Qwen2.5-7B-Instruct", ("chat", "plain", "json")),
        ("anthropic/claude-opus-4-5", ("xml", "chat", "json")),
        ("bedrock/us.anthropic.claude-sonnet-4", ("xml", "chat", "json")),
        ("openai/gpt-5.1", ("chat", "json", "xml")),
    ],
)
def test_what_a_search_tries_first(model: str, first: tuple[str, ...]) -> None:
    assert tried_layouts(None, lmpipe.LM(model)) == first


@pytest.mark.parametrize("model", ["local", "anthropic/claude-opus-4-5", "openai/gpt-5.1"])
def test_all_suited_layouts_are_known_and_different(model: str) -> None:
    suited = layouts_for(lmpipe.LM(model))
    assert len(set(suited)) == len(suited)
    assert set(suited) <= set(layout_names())


def test_tools_are_left_out_where_the_lm_takes_none() -> None:
    lm = lmpipe.LM("openai/gpt-5.1", takes={"tools": False})
    assert "tools" not in layouts_for(lm)
    assert "tools" in layouts_for(lmpipe.LM("openai/gpt-5.1"))


def test_layouts_that_are_named_are_tried_on_any_lm() -> None:
    assert tried_layouts(("tools",), lmpipe.LM("local")) == ("tools",)
