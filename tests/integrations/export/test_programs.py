"""Whole programs, exported with their recorded replies."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.world_reader import call_tools, read_world

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import ExportError
from lmpipe.integrations.export.parity import Parity
from lmpipe.integrations.export.recorded_calls import RecordedCall, record_calls
from lmpipe.integrations.export.write_files import export_prompts
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.modules.module import Module
from programs import agent
from programs.world_data import years_between

ROOT = Path(__file__).parents[3]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
readers = pytest.mark.parametrize(
    "form", ["messages", pytest.param("typescript", marks=needs_node)]
)


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Module, list[RecordedCall]]:
    """A compile of programs/tickets.py with replies that an embedded LM gave."""
    optimizer = lmpipe.RandomSearch(
        candidates=3, demos=6, bootstrapped=2, threshold=0.75, constrained_share=1.0
    )
    with pytest.MonkeyPatch.context() as patch, _replaying() as runtime:
        patch.chdir(ROOT)
        recipe = load_recipe("programs/tickets.py").replace(
            val_size=12, test_size=16, optimizer=optimizer, ablation=False
        )
        with lmpipe.using(lm=recipe.student or lmpipe.LM("local"), runtime=runtime):
            run = lmpipe.compile(recipe, runs=tmp_path_factory.mktemp("runs"))
            return run.program, record_calls(run.program, prepare(recipe).val)


@contextmanager
def _replaying() -> Iterator[Runtime]:
    runtime = Runtime(store=Cassette(ROOT / "tests" / "cassettes" / "tickets.jsonl", mode="none"))
    try:
        yield runtime
    finally:
        runtime.close()


@contextmanager
def _local() -> Iterator[None]:
    with lmpipe.using(lm=lmpipe.LM("local")):
        yield


@readers
def test_every_prompt_and_reply_of_tickets_is_the_same(
    form: Any, tickets: tuple[Module, list[RecordedCall]], tmp_path: Path
) -> None:
    program, calls = tickets
    with _local():
        exported = export_prompts(program, tmp_path, form, calls=calls)
    assert exported.parity == Parity(prompts=24, replies=24)
    assert json.loads((tmp_path / "route.json").read_text())["pool"]["k"] == 6


def test_the_python_reader_needs_no_package(
    tickets: tuple[Module, list[RecordedCall]], tmp_path: Path
) -> None:
    with _local():
        export_prompts(tickets[0], tmp_path, "messages", calls=None)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import json, pathlib, prompt_reader\n"
        f"text = pathlib.Path({str(tmp_path)!r}, 'details.json').read_text(encoding='utf-8')\n"
        "prompt = prompt_reader.Prompt(json.loads(text))\n"
        "assert 'pydantic' not in sys.modules\n"
        "body = prompt.request({'message': 'FH-12345 is late'})\n"
        "print(body['max_tokens'], json.dumps(body['messages'][-1]))\n"
        "print(prompt.parse('Order: FH-12345\\nProduct: none\\nAmount: none'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    limit, _, message = done.stdout.splitlines()[0].partition(" ")
    assert (limit, json.loads(message)["content"]) == ("96", "Message: FH-12345 is late")
    assert "'order': 'FH-12345'" in done.stdout


@readers
@pytest.mark.parametrize(("protocol", "script"), [("text", read_world), ("native", call_tools)])
def test_every_prompt_and_reply_of_an_agent_is_the_same(
    form: Any, protocol: Any, script: Any, tmp_path: Path
) -> None:
    program = agent.agent(protocol)
    with lmpipe.using(lm=lmpipe.ScriptedLM(script, context=16_384)):
        calls = record_calls(program, years_between("val").read()[:4])
        exported = export_prompts(program, tmp_path, form, calls=calls)
    assert exported.parity == Parity(prompts=len(calls), replies=len(calls))
    assert exported.uncalled == ("extract",)
    assert {call.predictor for call in calls} >= {"act"}
    assert max(len(call.inputs.get("trajectory", {}).get("steps", ())) for call in calls) > 2


@readers
def test_an_agent_that_does_not_finish_is_read_from_its_steps(form: Any, tmp_path: Path) -> None:
    program = lmpipe.ReAct(agent.CountYears, tools=agent.TOOLS, max_steps=2, protocol="text")
    with lmpipe.using(lm=lmpipe.ScriptedLM(read_world, context=16_384)):
        calls = record_calls(program, years_between("val").read()[:3])
        exported = export_prompts(program, tmp_path, form, calls=calls)
    assert "extract" in {call.predictor for call in calls}
    assert exported.parity is not None
    assert exported.parity.prompts == len(calls)


class Sort(lmpipe.Signature):
    """Sort the message."""

    message: str = lmpipe.Input()
    amount: float | None = lmpipe.Output(ge=0)


def calls_with(*replies: str) -> tuple[Module, Sequence[RecordedCall]]:
    """A program that gets these replies, one for each example."""
    program, left = lmpipe.Predict(Sort, retries=0), iter(replies)
    examples = [lmpipe.Example(message=f"m{n}").with_inputs("message") for n in range(len(replies))]
    lm = lmpipe.ScriptedLM(lambda request: next(left))
    with lmpipe.using(lm=lm):
        return program, record_calls(program, examples)


@readers
def test_a_reply_that_only_the_runtime_reads_is_named(form: Any, tmp_path: Path) -> None:
    program, calls = calls_with("[[amount]]\n5", "[[amount]]\nabout 7 dollars")
    with pytest.raises(
        ExportError, match=r"self, validation example 2: the runtime reads \{'amount': 7\.0\} in a"
    ):
        export_prompts(program, tmp_path, form, calls=calls)
    exported = export_prompts(program, tmp_path, form, calls=calls, allow_unread=True)
    assert exported.parity == Parity(prompts=2, replies=1, unread=1)


@readers
def test_a_reply_that_neither_reads_is_counted(form: Any, tmp_path: Path) -> None:
    program, calls = calls_with("[[amount]]\n5", "[[amount]]\n-5", "no", "[[amount]]\nnone")
    exported = export_prompts(program, tmp_path, form, calls=calls)
    assert exported.parity == Parity(prompts=4, replies=2, refused=2)


def test_the_first_difference_of_a_prompt_is_named(tmp_path: Path) -> None:
    program, calls = calls_with("[[amount]]\n5")
    changed = program.bind(program.state().map(instruction="Sort the massage."))
    with pytest.raises(
        ExportError,
        match=r"self, validation example 1: the messages differ: \[0\]\.content, character 10: "
        r'the runtime has "Sort the message.*the export "Sort the massage',
    ):
        export_prompts(changed, tmp_path, "messages", calls=calls)


def test_a_reply_that_is_read_otherwise_is_named(tmp_path: Path) -> None:
    program, [call] = calls_with("[[amount]]\n5")
    wrong = RecordedCall(
        call.predictor, 1, call.inputs, call.request, call.replies, [{"amount": 6.0}]
    )
    with pytest.raises(
        ExportError, match=r"read differently: amount: the runtime has 6\.0, the exp"
    ):
        export_prompts(program, tmp_path, "messages", calls=[wrong])


def test_examples_on_which_nothing_is_called_compare_nothing(tmp_path: Path) -> None:
    program, _ = calls_with("[[amount]]\n5")
    with pytest.raises(ExportError, match="calls no predictor on the examples"):
        export_prompts(program, tmp_path, "messages", calls=[])
