"""`SandboxResult` as text, and errors as all sandboxes write them."""

from __future__ import annotations

import pytest

from lmpipe.sandbox.limits import SandboxLimits
from lmpipe.sandbox.result import SandboxResult, error_text, within_limits


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (SandboxResult(), "(no output)"),
        (SandboxResult(printed="a\n"), "a"),
        (SandboxResult(value=[1, "b"]), 'value of the last line: [1,"b"]'),
        (SandboxResult(value="b", printed="a\n"), "a\nvalue of the last line: b"),
        (SandboxResult(error="E: m", printed="a\n"), "a\nerror: E: m"),
        (
            SandboxResult(error="E", lost=True),
            "error: E\n(the names that earlier code defined are gone)",
        ),
        (SandboxResult(printed="a", limit="output"), "a\n(the code printed more than is shown)"),
    ],
)
def test_the_text_has_what_there_is(result: SandboxResult, text: str) -> None:
    assert result.text == text


def test_a_value_beyond_the_limit_keeps_the_error_of_the_code() -> None:
    limits = SandboxLimits(output_chars=3)
    assert within_limits(SandboxResult(value="abcdef", error="E"), limits).error == "E"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("E", ""), "E"),
        (("E", "m"), "E: m"),
        (("E", "m", [(3, "")]), "E: m (line 3)"),
        (("E", "m", [(3, ""), (1, "f")]), "E: m (line 3, line 1 in f)"),
    ],
)
def test_an_error_has_its_class_message_and_lines(given: tuple[object, ...], text: str) -> None:
    assert error_text(*given) == text  # type: ignore[arg-type]


def test_a_long_message_and_deep_frames_are_shortened() -> None:
    text = error_text("E", "a" * 100_000, [(1, "f")] * 1000)
    assert len(text) < 2200
    assert text.count("line 1 in f") == 5
