"""`lmpipe show`, `runs`, `report`, `version` and `--help`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer

import lmpipe

Cli = Callable[..., Any]


def test_show_reads_a_run_folder_without_its_program(cli: Cli, compiled: str, folder: Path) -> None:
    (folder / "colours.py").unlink()
    out = cli("show", compiled).stdout
    assert "Which colour does the thing have?" in out
    assert "thing: str" in out
    assert "(labeled)" in out


def test_show_renders_a_prompt_if_the_program_is_trusted(cli: Cli, compiled: str) -> None:
    out = cli("show", compiled, "--trust").stdout
    assert "[system]" in out
    assert "<thing>" in out


def test_show_takes_a_program_file(cli: Cli) -> None:
    assert "layout       chat" in cli("show", "colours.py").stdout


def test_show_has_the_table_of_what_did_it(cli: Cli, write: Callable[..., str]) -> None:
    small = "train=things(12), val=things(16, seed=1, start=100), test=None"
    search = "optimizer=lmpipe.LabeledFewShot(demos=6)"
    file = write("small.py", f"recipe = make(name='', ablation=True, {search}, {small})")
    compiled = cli("compile", file).stdout
    (run,) = Path("runs").iterdir()
    shown = cli("show", str(run)).stdout
    for out in (compiled, shown):
        (line,) = [line for line in out.splitlines() if line.startswith("demonstrations (6 fixed)")]
        assert re.search(r"\d+\.\d% +[+-]\d+\.\d \(", line)
        assert "what did it: " in out


def test_show_tells_what_each_stage_of_a_portfolio_gained(
    cli: Cli, write: Callable[..., str]
) -> None:
    lines = "recipe = recipe.replace(optimizer=lmpipe.Auto(weights=None), val_size=10)"
    cli("compile", write("auto.py", lines))
    (run,) = Path("runs").iterdir()
    out = cli("show", str(run)).stdout
    assert "what each stage gained on validation\n  constrained outputs: " in out
    assert "\n  layouts and constrained outputs: " in out


def test_show_tells_no_stages_of_other_optimizers(cli: Cli, compiled: str) -> None:
    assert "each stage" not in cli("show", compiled).stdout


DESCRIBING = """
bare = lmpipe.Predict(NameColour)
program = bare.bind(bare.state().map(descriptions={"colour": "one of the\\nrainbow"}))
recipe = make(name="", program=program)
"""


def test_show_lists_learned_descriptions_of_fields(cli: Cli, write: Callable[..., str]) -> None:
    listed, prompt = cli("show", write("told.py", DESCRIBING)).stdout.split("[system]")
    assert "descriptions of fields\n    colour: one of the rainbow" in listed
    assert "rainbow" in prompt


RETRIEVING = """
pool = tuple(lmpipe.Demo(inputs={"thing": f"grass number {n}"}, outputs={"colour": "green"})
             for n in range(1200))
bare = lmpipe.Predict(NameColour)
program = bare.bind(bare.state().map(retrieval=lmpipe.Retrieval(pool=pool, k=7)))
recipe = make(name="", program=program)
"""


def test_show_lists_retrieved_demonstrations(cli: Cli, write: Callable[..., str]) -> None:
    out = cli("show", write("near.py", RETRIEVING)).stdout
    assert "7 nearest of 1,200 demonstrations, per input\n" in out
    assert "thing=grass number 0" in out
    assert "and 1,195 more" in out
    assert "nearest to the inputs" in out


TAUGHT = """
bare = lmpipe.Predict(NameColour)
lesson = lmpipe.Lesson(text="Look twice.\\nThen name it.", helpful=3, harmful=1)
recipe = make(name="", program=bare.bind(bare.state().map(lessons=(lesson,))))
"""


def test_show_lists_lessons_with_their_counts(cli: Cli, write: Callable[..., str]) -> None:
    out = cli("show", write("taught.py", TAUGHT)).stdout
    assert "  lessons: 1\n    1. Look twice.\n       Then name it.\n" in out
    assert "(helpful 3, harmful 1)" in out
    assert "- Look twice.\n" in out  # in the prompt


EMBEDDED = """
from lmpipe.foundation.vectors import encode_vector
from lmpipe.state.program_state import Vectors
pool = tuple(lmpipe.Demo(inputs={"thing": f"grass number {n}"}, outputs={"colour": "green"})
             for n in range(2))
data = 2 * encode_vector([1, 1, 1])
vectors = Vectors(embedder="openai/some-embedder", dimension=3, data=data)
bare = lmpipe.Predict(NameColour)
chosen = lmpipe.Retrieval(pool=pool, k=1, vectors=vectors)
recipe = make(name="", program=bare.bind(bare.state().map(retrieval=chosen)))
"""


def test_show_names_the_embedder(cli: Cli, write: Callable[..., str]) -> None:
    out = " ".join(cli("show", write("near.py", EMBEDDED)).stdout.split())
    assert "1 nearest of 2 demonstrations, per input, by embeddings of openai/some-embedder" in out


def test_running_without_the_embedder_names_the_option(cli: Cli, write: Callable[..., str]) -> None:
    result = cli("run", write("near.py", EMBEDDED), "--input", "thing=apple number 1")
    assert result.exit_code == 2
    assert "--embedder openai/some-embedder" in " ".join(result.stderr.split())


def test_the_embedder_of_the_command_line_retrieves(cli: Cli, write: Callable[..., str]) -> None:
    with FakeServer() as server:
        chosen = ("--embedder", "openai/some-embedder", "--base-url", server.base_url)
        for command in (("run", "--input", "thing=apple number 1"), ("eval", "--split", "val")):
            result = cli(command[0], write("near.py", EMBEDDED), *command[1:], *chosen)
            assert result.exit_code == 0, result.stderr
    assert server.bodies[0]["input"] == ["apple number 1"]
    assert len(server.bodies) > 2


def test_runs_lists_scores(cli: Cli, compiled: str) -> None:
    out = cli("runs").stdout
    assert compiled in out
    assert "→" in out


def test_runs_as_json(cli: Cli, compiled: str) -> None:
    (line,) = cli("runs", "--json").stdout.splitlines()
    run = json.loads(line)
    assert (run["folder"], run["status"]) == (compiled, "done")
    assert run["compiled"] > run["baseline"]


def test_a_damaged_run_is_listed_as_damaged(cli: Cli, compiled: str, folder: Path) -> None:
    (folder / compiled / "manifest.json").write_text("{")
    result = cli("runs")
    assert result.exit_code == 0
    assert "damaged" in result.stdout


def test_escape_sequences_in_a_manifest_do_not_reach_the_terminal(
    cli: Cli, compiled: str, folder: Path
) -> None:
    file = folder / compiled / "manifest.json"
    manifest = json.loads(file.read_text())
    hostile = "\x1b]0;owned\x07\x1b[31m\x9b2Ja\x00 name"
    for name in ("program", "optimizer"):
        manifest[name]["name"] = hostile
    manifest["student"]["model"] = hostile
    manifest["best"]["name"] = manifest["validation"][0]["name"] = hostile
    manifest["overfitting"] = {"sentence": hostile}
    manifest["started"] = hostile
    file.write_text(json.dumps(manifest))
    for command in (("show", compiled), ("runs",), ("show", compiled, "--trust")):
        result = cli(*command)
        assert result.exit_code == 0, result.stderr
        assert "a name" in result.stdout + result.stderr
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", result.stdout + result.stderr)


def test_an_error_that_quotes_a_manifest_has_no_escape_sequences(
    cli: Cli, compiled: str, folder: Path
) -> None:
    (folder / compiled / "manifest.json").write_text('{"format": 1, "status": "\\u001b[31mred"}')
    result = cli("show", compiled)
    assert result.exit_code == 2
    assert "(status: red)" in result.stderr


@pytest.mark.parametrize("changes", [{"test": 5}, {"test": {"scores": 1}}, {"spend": []}])
def test_a_run_whose_manifest_has_other_types_is_listed_as_damaged(
    cli: Cli, compiled: str, folder: Path, changes: dict[str, Any]
) -> None:
    file = folder / compiled / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    (line,) = cli("runs", "--json").stdout.splitlines()
    assert json.loads(line)["status"] == "damaged"


def test_no_runs_yet(cli: Cli, folder: Path) -> None:
    (folder / "runs").mkdir()
    assert "no runs" in cli("runs").stdout


def test_report_rewrites_the_page(cli: Cli, compiled: str, folder: Path) -> None:
    page = folder / compiled / "report.html"
    page.unlink()
    assert cli("report", compiled).stdout.strip() == f"{compiled}/report.html"
    assert page.is_file()


def test_version(cli: Cli) -> None:
    assert f"lmpipe {lmpipe.__version__}" in cli("version").stdout
    result = cli("--version")
    assert (result.exit_code, result.stdout) == (0, cli("version").stdout)


NESTED = """
class Order(lmpipe.Signature):
    \"\"\"Read the order.\"\"\"
    thing: str = lmpipe.Input()
    lines: list[dict[str, int]] = lmpipe.Output()
    colour: str = lmpipe.Output()

bare = lmpipe.Predict(Order)
demo = lmpipe.Demo(inputs={"thing": "t"}, outputs={"lines": [{"n": 1}], "colour": "red"})
program = bare.bind(bare.state().map(demos=(demo,), decoding={"stop": ["x"]}))
recipe = make(name="", program=program)
"""


def test_show_prints_nested_values_plainly(cli: Cli, write: Callable[..., str]) -> None:
    out = cli("show", write("nested.py", NESTED)).stdout
    assert "lines=[{'n': 1}]" in out
    assert "decoding     stop=['x']" in out
    assert "mappingproxy" not in out


def test_show_says_what_to_do_with_the_result(cli: Cli, compiled: str) -> None:
    assert "better: the whole interval is above zero" in cli("show", compiled).stdout


def test_compile_says_that_its_json_is_a_line_for_each_event(cli: Cli) -> None:
    assert "JSON lines" in " ".join(cli("compile", "--help").stdout.split())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, lmpipe.cli\n"
        "try: lmpipe.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'rich', 'aiohttp', 'diskcache', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_runs_can_be_chosen_and_sorted(cli: Cli, compiled: str) -> None:
    cli("compile", "colours.py", "--optimizer", "labeled")
    every = [json.loads(line) for line in cli("runs", "--json").stdout.splitlines()]
    best = [
        json.loads(line)
        for line in cli("runs", "--sort", "score", "-n", "1", "--json").stdout.splitlines()
    ]
    assert len(every) == 2
    assert best[0]["compiled"] == max(run["compiled"] for run in every)
    assert "random-search" not in cli("runs", "--optimizer", "labeled").stdout
    assert "none of 2 runs in runs" in cli("runs", "--unfinished").stdout
