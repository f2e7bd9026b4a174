"""Ways to raise each error of `docs/errors.md`, through public names, in the order of the page.

Each takes the fixture `monkeypatch` and does what a user did; the working folder is empty.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer
from helpers.fake_vllm import fake_command
from helpers.training import fake_python, sft_rows, write_model, write_rows

import lmpipe
from lmpipe.integrations.export.write_files import export_prompts
from lmpipe.integrations.migrate.migration import migrate
from lmpipe.integrations.registries.entry import PromptEntry
from lmpipe.integrations.registries.mlflow import register_at_mlflow
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.metrics import exact_match
from lmpipe.serving import start_server
from lmpipe.testing import block_network, use_cassette
from lmpipe.weights.trainer import TrainingJob

Patch = pytest.MonkeyPatch
Case = Callable[[Patch], Any]

CASES: dict[str, list[Case]] = {}

TEAM = "ticket -> team: Literal['billing', 'shipping']"
ROWS = [
    lmpipe.Example(ticket=f"ticket {number}", team="billing").with_inputs("ticket")
    for number in range(6)
]


def raises(error: str) -> Callable[[Case], Case]:
    """Add a case for the next message of this error on the page."""

    def add(case: Case) -> Case:
        CASES.setdefault(error, []).append(case)
        return case

    return add


@contextmanager
def replying(reply: str | lmpipe.Reply) -> Iterator[lmpipe.ScriptedLM]:
    lm = lmpipe.ScriptedLM(lambda request: reply)
    with lmpipe.using(lm=lm):
        yield lm


@contextmanager
def failing_server(mode: str) -> Iterator[lmpipe.LM]:
    """The LM of a server all of whose answers fail; each call is tried twice, without a wait."""
    runtime = Runtime(retry=RetryPolicy(attempts=2, base=0.001))
    with FakeServer("echo") as server, lmpipe.using(runtime=runtime):
        server.fail(9, mode)
        lm = lmpipe.LM("vllm/small", base_url=server.base_url)
        with lmpipe.using(lm=lm):
            yield lm


def compile_tickets(**changes: Any) -> lmpipe.Run:
    with replying("[[team]]\nbilling") as lm:
        parts: dict[str, Any] = {
            "program": lmpipe.Predict(TEAM),
            "train": ROWS[:2],
            "val": ROWS[2:4],
            "test": ROWS[4:],
            "metric": exact_match("team"),
            "optimizer": "labeled",
            "student": lm,
            "budget": lmpipe.Budget(calls=100),
        }
        return lmpipe.compile(lmpipe.Recipe(**(parts | changes)), progress=False)


class Again(lmpipe.Module):
    """Asks twice, in a loop whose length no one can read."""

    def __init__(self) -> None:
        self.route = lmpipe.Predict(TEAM)

    def forward(self, ticket: str) -> Any:
        asked = 0
        while asked < 2:
            routed = self.route(ticket=ticket)
            asked += 1
        return routed


class Once(Again):
    max_calls = 1


class Reply(lmpipe.Signature):
    """Write a reply."""

    ticket: str = lmpipe.Input()
    reply: str = lmpipe.Output()

    @lmpipe.output_check("The reply must say please.")
    def polite(self) -> bool:
        return "please" in self.reply


@raises("InputError")
def migrate_a_file_without_dspy(patch: Patch) -> None:
    migrate("print('hello')\n", name="app.py")


@raises("SignatureError")
def declare_without_an_arrow(patch: Patch) -> None:
    lmpipe.Predict("ticket, team")


@raises("SignatureError")
def declare_an_unknown_type(patch: Patch) -> None:
    lmpipe.Predict("ticket -> team: Teams")


@raises("CallError")
def misspell_an_input(patch: Patch) -> None:
    lmpipe.Predict(TEAM)(tiket="The parcel is late.")  # type: ignore[call-arg]


@raises("CallError")
def give_text_for_a_number(patch: Patch) -> None:
    lmpipe.Predict("amount: int -> answer")(amount="many")


@raises("DataError")
def read_a_damaged_line(patch: Patch) -> None:
    Path("tickets.jsonl").write_text('{"ticket": "a"}\n{"ticket": "b", }\n')
    lmpipe.read_examples("tickets.jsonl", inputs=["ticket"])


@raises("DataError")
def read_rows_without_the_input(patch: Patch) -> None:
    Path("tickets.jsonl").write_text('{"ticket": "a", "team": "billing"}\n')
    lmpipe.read_examples("tickets.jsonl", inputs=["message"])


@raises("DataError")
def learn_from_what_is_compared_on(patch: Patch) -> None:
    compile_tickets(val=ROWS[1:4])


@raises("ExportError")
def export_what_calls_no_predictor(patch: Patch) -> None:
    export_prompts(lmpipe.Predict(TEAM), Path("out"), "messages", calls=[])


@raises("MediaError")
def show_a_picture_that_is_missing(patch: Patch) -> None:
    lmpipe.Image.of("chart.png")


@raises("MetricError")
def score_out_of_range(patch: Patch) -> None:
    with replying("[[team]]\nbilling"):
        lmpipe.evaluate(lmpipe.Predict(TEAM), ROWS, lambda example, prediction: 3.0)


@raises("MetricError")
def read_a_label_that_is_not_there(patch: Patch) -> None:
    compile_tickets(metric=lambda example, prediction: example.tone == "calm")


@raises("RecipeError")
def leave_out_the_metric(patch: Patch) -> None:
    compile_tickets(metric=None)


@raises("RecipeError")
def misspell_an_optimizer(patch: Patch) -> None:
    compile_tickets(optimizer="gepaa")


@raises("RecipeError")
def loop_without_a_maximum(patch: Patch) -> None:
    compile_tickets(program=Again())


@raises("CallLimitError")
def call_more_than_declared(patch: Patch) -> None:
    compile_tickets(program=Once())


@raises("ArtifactError")
def load_what_is_no_run(patch: Patch) -> None:
    lmpipe.load("runs/none", lmpipe.Predict(TEAM))


@raises("ArtifactError")
def load_without_the_program(patch: Patch) -> None:
    lmpipe.load(compile_tickets().path)


@raises("ArtifactError")
def load_into_another_program(patch: Patch) -> None:
    lmpipe.load(compile_tickets().path, lmpipe.Predict("ticket -> group: Literal['a', 'b']"))


@raises("ConfigError")
def ask_without_a_key(patch: Patch) -> None:
    patch.delenv("OPENAI_API_KEY", raising=False)
    lmpipe.LM("openai/gpt-5.1")("Hello")


@raises("ConfigError")
def give_an_lm_an_option_of_the_runtime(patch: Patch) -> None:
    lmpipe.LM("openai/gpt-5.1", attempts=3)


@raises("ConfigError")
def use_an_engine_that_is_not_installed(patch: Patch) -> None:
    patch.setenv("PATH", "")
    lmpipe.ContainerSandbox().run("1 + 1")


@raises("NetworkBlockedError")
def connect_where_it_is_blocked(patch: Patch) -> None:
    with block_network():
        socket.create_connection(("example.org", 443))


@raises("CassetteError")
def replay_a_damaged_cassette(patch: Patch) -> None:
    Path("tickets.jsonl").write_text("{}\n")
    with use_cassette("tickets.jsonl", mode="none"):
        pass


@raises("CassetteMissError")
def replay_what_was_never_recorded(patch: Patch) -> None:
    with replying("[[team]]\nbilling"), use_cassette("tickets.jsonl", mode="none"):
        lmpipe.Predict(TEAM)(ticket="The parcel is late.")


@raises("CassetteMissError")
def replay_another_prompt(patch: Patch) -> None:
    with replying("[[team]]\nbilling"):
        with use_cassette("tickets.jsonl", mode="once"):
            lmpipe.Predict(TEAM)(ticket="My invoice is wrong.")
        with use_cassette("tickets.jsonl", mode="none"):
            lmpipe.Predict(TEAM)(ticket="My bill is wrong.")


@raises("OutputError")
def get_an_unreadable_reply(patch: Patch) -> None:
    with replying("I think it is about money."):
        lmpipe.Predict(TEAM)(ticket="My invoice is wrong.")


@raises("CheckError")
def get_answers_that_fail_a_check(patch: Patch) -> None:
    with replying("[[reply]]\nGo away."):
        lmpipe.Predict(Reply)(ticket="My invoice is wrong.")


@raises("CutError")
def get_a_reply_that_is_cut(patch: Patch) -> None:
    with replying(lmpipe.Reply("[[reply]]\nDear", finish="length")):
        lmpipe.Predict("ticket -> reply")(ticket="My invoice is wrong.")


@raises("RefusalError")
def get_a_refusal(patch: Patch) -> None:
    with replying(lmpipe.Reply("", refusal="I cannot help with that.")):
        lmpipe.Predict(TEAM)(ticket="My invoice is wrong.")


@raises("LMRequestError")
def be_refused(patch: Patch) -> None:
    with failing_server("401") as lm:
        lm("Hello")


@raises("LMUnavailableError")
def ask_an_overloaded_server(patch: Patch) -> None:
    with failing_server("503") as lm:
        lm("Hello")


@raises("LMUnavailableError")
def ask_where_no_server_is(patch: Patch) -> None:
    runtime = Runtime(retry=RetryPolicy(attempts=2, base=0.001))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with lmpipe.using(runtime=runtime):
        lmpipe.LM("vllm/small", base_url=f"http://127.0.0.1:{port}/v1")("Hello")


@raises("DeadlineError")
def ask_until_the_deadline(patch: Patch) -> None:
    with failing_server("stall") as lm, lmpipe.using(deadline=0.05):
        lm("Hello")


@raises("ServerError")
def start_a_server_with_too_little_memory(patch: Patch) -> None:
    Path("model").mkdir()
    spec = lmpipe.ServerSpec(
        model=str(Path("model").resolve()),
        command=fake_command(),
        env={"FAKE_EXIT": "ValueError: No available memory for the cache blocks."},
    )
    lmpipe.lm.concurrency.loop.run_sync(start_server(spec))


@raises("RunTimeoutError")
def run_a_row_for_too_long(patch: Patch) -> None:
    with failing_server("stall"):
        lmpipe.Predict(TEAM).batch([{"ticket": "My invoice is wrong."}], timeout=0.05)


@raises("ToolServerError")
def start_a_server_of_tools_that_ends(patch: Patch) -> None:
    program = "import sys; sys.exit('no such file: shop.db')"
    with lmpipe.mcp_tools(command=[sys.executable, "-c", program]):
        pass


@raises("StorageError")
def record_where_a_folder_cannot_be(patch: Patch) -> None:
    Path("cassettes").write_text("a file, and no folder")
    with replying("[[team]]\nbilling"), use_cassette("cassettes/tickets.jsonl", mode="once"):
        lmpipe.Predict(TEAM)(ticket="The parcel is late.")


@raises("RegistryError")
def register_where_no_server_is(patch: Patch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    register_at_mlflow([PromptEntry("Tickets.route", [], {}, {})])


@raises("TrainingError")
def train_without_memory(patch: Patch) -> None:
    folder = Path.cwd()
    patch.setenv("LMPIPE_TRAIN_PYTHON", str(fake_python(folder)))
    rows = write_rows(folder / "rows.jsonl", sft_rows(20))
    base = write_model(folder / "base")
    job = TrainingJob(str(base), rows, lmpipe.TrainingSettings(), folder / "weights" / "route")
    trainer = lmpipe.LocalTrainer(variables={"FAKE_TRAINING": "memory"})
    lmpipe.lm.concurrency.loop.run_sync(trainer.train(job))


@raises("SandboxError")
def start_containers_without_their_server(patch: Patch) -> None:
    Path("docker").write_text("#!/bin/sh\necho Cannot connect to the Docker daemon. >&2\nexit 1\n")
    Path("docker").chmod(0o755)
    patch.setenv("PATH", str(Path.cwd()), prepend=":")
    lmpipe.ContainerSandbox().run("1 + 1")


@raises("BudgetExhaustedError")
def give_a_budget_for_nothing(patch: Patch) -> None:
    compile_tickets(budget=lmpipe.Budget(calls=3))
