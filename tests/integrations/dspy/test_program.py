"""DSPy programs on lmpipe: the requests are those of DSPy alone, and the module stays as it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.dspy_programs import CASES, Case
from helpers.dspy_stub import RecordingStub, recording_stub

import lmpipe
from lmpipe.lm.runtime import Runtime

dspy = pytest.importorskip("dspy")

from lmpipe.integrations.dspy import from_dspy  # noqa: E402 - after dspy was found

EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def run_alone(case: Case, module: Any, stub: RecordingStub, example: Any) -> Any:
    """Run a module as DSPy runs it."""
    lm = dspy.LM("openai/stub", api_base=stub.url, api_key="k", cache=False)
    with dspy.context(lm=lm):
        if case.is_async:
            return asyncio.run(module.acall(**example.inputs().toDict()))
        return module(**{name: example[name] for name in example.inputs().keys()})


def our_lm(stub: RecordingStub) -> lmpipe.LM:
    return lmpipe.LM(
        "openai/stub", base_url=stub.url, api_key="k", temperature=None, max_tokens=None
    )


@EACH
def test_requests_are_those_of_dspy_byte_for_byte(case: Case) -> None:
    example, module = case.examples(7), case.make()
    with recording_stub(case.values) as stub:
        alone = run_alone(case, module, stub, example)
        asked_alone = stub.take()
        with lmpipe.using(lm=our_lm(stub), runtime=Runtime()):
            result = from_dspy(module)(**{k: example[k] for k in example.inputs().keys()})
        assert stub.take() == asked_alone
    assert len(asked_alone) > 0
    assert dict(result.items()) == dict(alone.items())
