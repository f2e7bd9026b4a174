"""`lmpipe compile`: its output, its files and its options."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer
from helpers.world import answer_body

Cli = Callable[..., Any]
Write = Callable[[str, str], str]


def manifest(folder: Path) -> dict[str, Any]:
    (run,) = (folder / "runs").iterdir()
    loaded: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return loaded


def rows(path: Path, count: int, *, start: int) -> str:
    lines = [{"thing": f"sky number {start + n}", "colour": "blue"} for n in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path.name


def test_a_compile_leaves_a_run_folder_with_a_report(compiled: str, folder: Path) -> None:
    assert {"manifest.json", "program.json", "report.html"} <= set(os.listdir(folder / compiled))


def test_the_table_shows_baselines_and_the_result(cli: Cli) -> None:
    out = cli("compile", "colours.py").stdout
    scored = {line.split("  ")[0]: line for line in out.splitlines() if line.count("%") >= 2}
    assert {"as declared", "constrained", "compiled"} <= set(scored)


def test_the_difference_is_shown_in_points_with_its_interval(cli: Cli) -> None:
    out = cli("compile", "colours.py").stdout
    assert "points (paired 95 % interval +" in out
    assert "on 40 untouched test examples" in out


def test_piped_output_has_a_line_for_each_candidate_and_no_escape_codes(cli: Cli) -> None:
    out = cli("compile", "colours.py").stdout
    assert sum("LM calls" in line and line[:3].strip().isdigit() for line in out.splitlines()) == 8
    assert "\x1b" not in out


def test_the_next_commands_name_the_run_folder(cli: Cli, folder: Path) -> None:
    out = cli("compile", "colours.py").stdout
    (run,) = (folder / "runs").iterdir()
    assert f"lmpipe run runs/{run.name} --trust --input thing=…" in out


def test_json_is_one_object_on_each_line(cli: Cli) -> None:
    lines = cli("compile", "colours.py", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert {"progress", "candidate", "done"} <= {event["event"] for event in events}
    assert events[-1]["improved"] is True


def test_the_dry_run_bounds_the_spend(cli: Cli, folder: Path) -> None:
    plan = json.loads(cli("compile", "colours.py", "--dry-run", "--json").stdout)
    cli("compile", "colours.py")
    spent = manifest(folder)["spend"]["total"]
    assert plan["total"]["calls"] >= spent["calls"]
    assert plan["total"]["tokens"] >= spent["tokens"]


def test_the_dry_run_writes_nothing(cli: Cli, folder: Path) -> None:
    assert cli("compile", "colours.py", "--dry-run").exit_code == 0
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("calls=100000", "covers all of it"),
        ("calls=400", "may end first"),
        ("calls=100000,seconds=9", "limits the time, which is not known in advance"),
    ],
)
def test_the_dry_run_says_whether_the_budget_covers_it(cli: Cli, budget: str, words: str) -> None:
    assert words in cli("compile", "colours.py", "--dry-run", "--budget", budget).stdout


def test_the_dry_run_says_that_a_budget_is_too_small(cli: Cli) -> None:
    shown = cli("compile", "colours.py", "--dry-run", "--budget", "calls=3").stdout
    assert "the budget (calls=3) is too small to score a first candidate" in shown


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "student    scripted/scripted\n"),
        (
            "lmpipe.configure(lm=lmpipe.LM('vllm/mine', base_url='http://127.0.0.1:9/v1'))\n"
            "recipe = recipe.replace(student=None)",
            "student    vllm/mine@http://127.0.0.1:9/v1 (the configured LM: the recipe names none)",
        ),
        (
            "recipe = recipe.replace(student=None)",
            "student    local (the embedded model: neither the recipe nor lmpipe.configure names",
        ),
    ],
    ids=["the recipe's", "the configured one", "the embedded one"],
)
def test_the_dry_run_says_which_lm_is_the_student_and_who_named_it(
    write: Write, folder: Path, lines: str, words: str
) -> None:
    write("colours.py", lines)
    command = [sys.executable, "-m", "lmpipe", "compile", "colours.py", "--dry-run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert words in done.stdout


def test_the_manifest_says_who_named_the_student(cli: Cli, folder: Path) -> None:
    cli("compile", "colours.py")
    assert manifest(folder)["student_source"] == "recipe"


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["a compile", "a dry run"])
def test_gold_labels_that_the_metric_scores_below_1_are_told(
    cli: Cli, write: Write, options: list[str]
) -> None:
    half = "recipe = recipe.replace(metric=lambda example, prediction: 0.5)"
    result = cli("compile", write("half.py", half), *options)
    assert result.exit_code == 0
    assert "scores gold labels as the prediction below 1 on 24 of 24 rows" in result.stdout


def test_the_dry_run_refuses_a_metric_that_raises_on_gold_labels(cli: Cli, write: Write) -> None:
    wrong = "recipe = recipe.replace(metric=lambda example, prediction: example.color)"
    result = cli("compile", write("wrong.py", wrong), "--dry-run")
    assert result.exit_code == 2
    assert "raised on every row" in result.stderr


def test_flags_replace_the_recipe_s_fields(cli: Cli, folder: Path) -> None:
    cli(
        "compile", "colours.py", "--optimizer", "labeled", "--seed", "7", "--train-size", "20",
        "--test-size", "15", "--budget", "calls=5000",
    )  # fmt: skip
    made = manifest(folder)
    assert made["optimizer"]["name"] == "labeled"
    assert (made["seed"], made["budget"]["calls"]) == (7, 5000)
    assert (made["data"]["train"]["rows"], made["data"]["test"]["rows"]) == (20, 15)


def test_a_data_path_replaces_a_list_of_examples(cli: Cli, folder: Path) -> None:
    test = rows(folder / "other.jsonl", 6, start=900)
    assert cli("compile", "colours.py", "--test", test).exit_code == 0
    assert manifest(folder)["data"]["test"]["rows"] == 6


def test_own_training_rows_are_not_validated_on_a_hub_set(
    cli: Cli, write: Write, folder: Path
) -> None:
    write("hub.py", "recipe = recipe.replace(val=lmpipe.Source('org/set', inputs=['thing']))")
    train = rows(folder / "own.jsonl", 30, start=5000)
    assert cli("compile", "hub.py", "--train", train).exit_code == 0
    assert manifest(folder)["data"]["val"]["rows"] == 10


def test_the_cache_option_chooses_the_folder_of_replies(cli: Cli, folder: Path) -> None:
    cli("compile", "colours.py", "--cache", "replies")
    assert (folder / "replies").is_dir()


def test_the_api_key_is_nowhere_in_the_output_or_the_run_folder(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    url = "http://127.0.0.1:9/v1"
    result = cli(
        "compile", "colours.py", "--dry-run", "--student", "openai/x", "--base-url", url,
        "--api-key-env", "MY_KEY",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "sk-very-secret" not in result.output


def test_replicas_and_limits_are_remembered(cli: Cli, folder: Path) -> None:
    with FakeServer(answer_body) as one, FakeServer(answer_body) as two:
        result = cli(
            "compile", "colours.py", "--student", "vllm/m", "--base-url", one.base_url,
            "--base-url", two.base_url, "--rpm", "600000", "--tpm", "1e9", "--timeout", "30",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert min(one.stats()["ok"], two.stats()["ok"]) > 0
        changed = manifest(folder)["overrides"]
        assert changed["student"]["base_urls"] == [one.base_url, two.base_url]
        assert changed["rates"] == {"rpm": 600000, "tpm": 1e9, "timeout": 30}
        (run,) = (folder / "runs").iterdir()
        assert cli("eval", str(run), "--trust").exit_code == 0


def test_a_second_recipe_of_a_file_is_chosen_by_name(cli: Cli, write: Write) -> None:
    write("two.py", "other = recipe.replace(name='chosen')")
    assert "plan for chosen" in cli("compile", "two.py:other", "--dry-run").stdout


def test_the_gate_passes_where_the_result_is_better(cli: Cli) -> None:
    assert cli("compile", "colours.py", "--require-improvement").exit_code == 0


def test_the_gate_fails_where_the_result_is_not_better(cli: Cli, write: Write) -> None:
    same = "lambda request: '## colour\\nblue'"
    write("flat.py", f"recipe = recipe.replace(student=lmpipe.ScriptedLM({same}))")
    result = cli("compile", "flat.py", "--require-improvement")
    assert result.exit_code == 3
    assert "not improved" in result.stderr


def test_the_gate_needs_a_test_set(cli: Cli, write: Write) -> None:
    write("untested.py", "recipe = recipe.replace(test=None)")
    assert cli("compile", "untested.py", "--require-improvement").exit_code == 2


def test_a_compile_without_a_test_set_says_so(cli: Cli, write: Write) -> None:
    write("untested.py", "recipe = recipe.replace(test=None)")
    result = cli("compile", "untested.py")
    assert result.exit_code == 0
    assert "not tested" in result.stdout


def test_a_budget_too_small_for_anything_is_exit_4(cli: Cli) -> None:
    result = cli("compile", "colours.py", "--budget", "calls=3")
    assert result.exit_code == 4
    assert result.stderr.startswith("error: the budget (calls=3)")


def test_a_budget_that_ends_the_search_still_gives_a_program(cli: Cli) -> None:
    result = cli("compile", "colours.py", "--budget", "calls=150")
    assert result.exit_code == 0
    assert "the search ended early" in result.stdout


def test_an_outage_is_exit_1_and_says_how_to_resume(cli: Cli, write: Write) -> None:
    away = """
from lmpipe.errors import LMRequestError
def away(request):
    raise LMRequestError("the server says no", status=401)
recipe = recipe.replace(student=lmpipe.ScriptedLM(away))
"""
    result = cli("compile", write("away.py", away))
    assert result.exit_code == 1
    assert "run the same command again: it resumes" in result.stderr


def test_ctrl_c_is_exit_130_and_says_how_to_resume(write: Write, folder: Path) -> None:
    waiting = """
import asyncio
class Waits(lmpipe.Module):
    def __init__(self):
        self.name = lmpipe.Predict(NameColour)
    async def forward(self, thing: str):
        print("waiting", file=sys.stderr, flush=True)
        await asyncio.Event().wait()
        return await self.name.acall(thing=thing)
recipe = recipe.replace(program=Waits())
"""
    command = [sys.executable, "-m", "lmpipe", "compile", write("waits.py", waiting)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        assert it.stderr is not None
        it.stderr.readline()
        it.send_signal(signal.SIGINT)
        _, stderr = it.communicate(timeout=30)
    assert it.returncode == 130
    (run,) = (folder / "runs").iterdir()
    told = f"interrupted\n  runs/{run.name}: no candidate was scored yet\n  run the same command"
    assert told in stderr
    assert manifest(folder)["status"] == "interrupted"


def test_the_table_has_train_validation_and_test(cli: Cli) -> None:
    out = cli("compile", "colours.py").stdout
    header = next(line for line in out.splitlines() if "95 % interval" in line)
    assert header.split()[:4] == ["train", "validation", "corrected", "test"]
    assert "racing saved " in out


def test_no_race_scores_all_candidates_on_everything(cli: Cli, folder: Path) -> None:
    assert cli("compile", "colours.py", "--no-race").exit_code == 0
    made = manifest(folder)
    assert made["race"] is False
    assert made["overrides"] == {"race": False}
    assert all(candidate["complete"] for candidate in made["validation"])


def test_no_ablation_leaves_the_result_whole(cli: Cli, write: Write, folder: Path) -> None:
    small = "train=things(12), val=things(16, seed=1, start=100), test=None"
    file = write("small.py", f"recipe = make(name='', ablation=True, {small})")
    done = cli("compile", file, "--no-ablation", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[-1])["ablation"] is None
    assert manifest(folder)["overrides"] == {"ablation": False}


def test_the_dry_run_says_that_the_ablation_gets_what_is_left(cli: Cli, write: Write) -> None:
    file = write("ablating.py", "recipe = make(name='', ablation=True)")
    whole = json.loads(cli("compile", file, "--dry-run", "--json").stdout)
    assert whole["phases"][-1]["phase"] == "parts of the result on validation"
    others = sum(phase["calls"] for phase in whole["phases"][:-1])
    for calls, covered in ((others, "all but the last phase"), (whole["total"]["calls"], "all of")):
        out = cli("compile", file, "--dry-run", f"--budget=calls={calls}").stdout
        assert f"the budget (calls={calls}) covers {covered}" in out


def test_the_dry_run_shows_the_proposer(cli: Cli, write: Write) -> None:
    asks = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Asks(lmpipe.LabeledFewShot):
    def cost(self, sizes):
        return lmpipe.optimize.Cost(sizes.val, asks=7)
recipe = recipe.replace(optimizer=Asks())
"""
    file = write("asks.py", asks)
    arguments = ("--proposer", "vllm/big", "--base-url", "http://127.0.0.1:9/v1")
    out = cli("compile", file, "--dry-run", *arguments).stdout
    assert "proposer   vllm/big@http://127.0.0.1:9/v1, asked at most 7 times" in out


def test_the_proposer_is_remembered_without_its_key(cli: Cli, folder: Path) -> None:
    url = "http://user:secret@127.0.0.1:9/v1"
    cli("compile", "colours.py", "--proposer", "vllm/big", "--base-url", url)
    made = manifest(folder)
    assert made["overrides"]["proposer"]["model"] == "vllm/big"
    assert "secret" not in json.dumps(made)
