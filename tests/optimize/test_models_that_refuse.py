"""Whole compiles on models that refuse what lmpipe would send to others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer
from helpers.proposing_lm import answer_or_propose_body
from helpers.world import recipe, things

import lmpipe
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.defaults import ParameterWarning
from lmpipe.lm.runtime import Runtime

OPTIMIZERS = {
    "copro": lmpipe.COPRO(breadth=2, depth=1),
    "mipro": lmpipe.MIPROv2(instructions=2, demo_sets=2, trials=2),
    "random-search": lmpipe.RandomSearch(candidates=2, demos=2, bootstrapped=1),
}
REFUSED = ("temperature", "max_tokens", "top_p", "seed", "n")


def reply(body: Mapping[str, Any]) -> str:
    form = body.get("response_format")
    schema = form["json_schema"]["schema"] if form else None
    constraint = {"structured_outputs": {"json": schema}} if schema else {}
    return answer_or_propose_body({**body, **constraint})


def refuse(body: Mapping[str, Any]) -> tuple[int, Any] | None:
    """Refuse like OpenAI's models that think."""
    for name in REFUSED:
        if name in body and not (name == "n" and body[name] == 1):
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            if name == "max_tokens":
                message += " Use 'max_completion_tokens' instead."
            return 400, {"error": {"message": message, "code": "unsupported_parameter"}}
    return None


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(reply) as server:
        server.refuses = refuse
        yield server


def compile_on(server: FakeServer, model: str, folder: Path, optimizer: Any) -> lmpipe.Run:
    made = recipe(
        train=things(12),
        val=things(8, seed=1, start=100),
        test=things(8, seed=2, start=200),
        optimizer=optimizer,
        student=lmpipe.LM(model, base_url=server.base_url),
        budget=lmpipe.Budget(calls=400),
    )
    runtime = Runtime(store=Cache(folder / "cache"))
    try:
        with lmpipe.using(runtime=runtime):
            return lmpipe.compile(made, runs=folder / "runs")
    finally:
        runtime.close()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_model_that_the_table_knows_refuses_nothing(
    server: FakeServer, tmp_path: Path, name: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)  # samples without temperature
        run = compile_on(server, "openai/o3", tmp_path, OPTIMIZERS[name])
    assert run.account.total.calls > 20
    assert server.stats().get("400", 0) <= 1  # of several samples at once, which is learned
    assert all("max_completion_tokens" in body for body in server.bodies)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_model_that_nobody_knows_is_learned_and_its_run_repeats_without_it(
    server: FakeServer, tmp_path: Path, name: str
) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ParameterWarning)
        first = compile_on(server, "openai/private", tmp_path, OPTIMIZERS[name])
    messages = [str(warning.message) for warning in told]
    for learned in ("take temperature", "take max_tokens, but max_completion_tokens"):
        assert len([message for message in messages if learned in message]) == 1
    asked = server.stats()["requests"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)
        again = compile_on(server, "openai/private", tmp_path, OPTIMIZERS[name])
    assert server.stats()["requests"] == asked
    files = [(run.path / "program.json").read_bytes() for run in (first, again)]
    assert files[0] == files[1]
