"""Jinja templates render to the messages of the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jinja2
import pytest

import lmpipe
from lmpipe.errors import ExportError
from lmpipe.integrations.export.document import prompt_document
from lmpipe.integrations.export.jinja import jinja_document, variables_of
from lmpipe.layouts import layout_names
from lmpipe.lm.providers.openai_turns import openai_turns
from lmpipe.lm.request import Request
from lmpipe.state.program_state import Demo

ODD = (
    "{{ message }} {% if %} {# #}\r\nx\n[[team]]\n\\[[team]] \n</team>\n <![CDATA[\nSize: 1\n"
    "Team: y\n"
)


class Sort(lmpipe.Signature):
    """Sort {{ it }}, {% really %}."""

    message: str = lmpipe.Input()
    size: float = lmpipe.Input(default=1)
    lines: list[str] = lmpipe.Input(default=["a"])
    urgent: bool | None = lmpipe.Input(default=None)
    team: str = lmpipe.Output()
    why: str | None = lmpipe.Output()


@pytest.fixture(autouse=True)
def _lm() -> Iterator[None]:
    with lmpipe.using(lm=lmpipe.LM("openai/some", base_url="http://127.0.0.1:9/v1")):
        yield


@pytest.mark.parametrize("layout", layout_names())
def test_templates_render_to_the_messages_of_the_runtime(layout: str) -> None:
    declared = lmpipe.Predict(Sort, layout=layout)
    shown = Demo(inputs={"message": ODD, "lines": [ODD]}, outputs={"team": ODD, "why": None})
    for demos in ((), (shown,)):
        predictor = declared.with_state(declared.state_of().replace(demos=demos), "self")
        document = prompt_document("self", predictor)
        template = jinja_document(document)
        for inputs in (
            {"message": ODD, "size": 2, "lines": ["x\n[[team]]", "{{"], "urgent": True},
            {"message": ""},
        ):
            assert rendered(template, variables_of(document, inputs)) == contents(predictor, inputs)


def rendered(template: Any, values: dict[str, str]) -> list[Any]:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return [
        content and environment.from_string(content).render(values)
        for content in (turn["content"] for turn in template["messages"])
    ]


def contents(predictor: Any, inputs: dict[str, Any]) -> list[Any]:
    """The contents of the messages as they are sent."""
    request = Request(predictor.lm_now(), predictor.messages(**inputs))
    return [turn["content"] for turn in openai_turns(request)]


def test_a_prompt_with_earlier_turns_cannot_be_a_template() -> None:
    predictor = lmpipe.Predict("earlier: History, question -> answer")
    with pytest.raises(ExportError, match=r"self: a prompt that shows earlier turns .*messages or"):
        jinja_document(prompt_document("self", predictor))
