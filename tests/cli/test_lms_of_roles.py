"""LMs on the command line: each role at its own server, by address or by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer
from helpers.world import answer_body

from lmpipe.cli.options import LMOptions
from lmpipe.cli.overrides import LMChoice, lm_overrides
from lmpipe.errors import ConfigError, RecipeError

Cli = Callable[..., Any]
A, B = "http://127.0.0.1:9/v1", "http://127.0.0.1:8/v1"


def keys_sent(server: FakeServer) -> set[str | None]:
    return {headers.get("Authorization") for headers in server.headers}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_A", "sesame-a")
    monkeypatch.setenv("KEY_B", "sesame-b")


def test_student_and_teacher_are_at_different_servers(cli: Cli, folder: Path) -> None:
    with FakeServer(answer_body) as one, FakeServer(answer_body) as two:
        result = cli(
            "compile", "colours.py",
            "--student", f"vllm/small@{one.base_url}#key=KEY_A",
            "--teacher", f"vllm/large@{two.base_url}#key=KEY_B",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert {body["model"] for body in one.bodies} == {"small"}
        assert {body["model"] for body in two.bodies} == {"large"}
        assert keys_sent(one) == {"Bearer sesame-a"}
        assert keys_sent(two) == {"Bearer sesame-b"}
        (run,) = (folder / "runs").iterdir()
        stored = "".join(file.read_text() for file in run.iterdir() if file.is_file())
        assert "sesame" not in stored
        page = (run / "report.html").read_text()
        assert f"vllm/small@{one.base_url}" in page
        assert f"vllm/large@{two.base_url}" in page
        asked = len(one.bodies)
        assert cli("eval", str(run), "--trust", "--cache", "other").exit_code == 0
        assert len(one.bodies) > asked


def test_roles_are_named_in_the_projects_table(cli: Cli, folder: Path) -> None:
    with FakeServer(answer_body) as one, FakeServer(answer_body) as two:
        (folder / "lmpipe.toml").write_text(
            f'[lms.small]\nmodel = "vllm/s"\nbase_url = "{one.base_url}"\ntemperature = 0.5\n'
            f'[lms.large]\nmodel = "vllm/l@{two.base_url}#key=KEY_B"\n'
        )
        result = cli("compile", "colours.py", "--student", "small", "--teacher", "large")
        assert result.exit_code == 0, result.output
        assert {(body["model"], body["temperature"]) for body in one.bodies} == {("s", 0.5)}
        assert {body["model"] for body in two.bodies} == {"l"}
        assert keys_sent(two) == {"Bearer sesame-b"}


def test_a_recipe_may_name_lms_of_the_table(
    cli: Cli, folder: Path, write: Callable[[str, str], str]
) -> None:
    (folder / "lmpipe.toml").write_text(f'[lms]\nsmall = "vllm/s@{A}"')
    write("named.py", "recipe = recipe.replace(student='small')")
    plan = json.loads(cli("compile", "named.py", "--dry-run", "--json").stdout)
    assert plan["student"] == f"vllm/s@{A}"


def test_the_plan_shows_where_each_role_is(cli: Cli) -> None:
    roles = ("--student", f"vllm/m@{A}", "--teacher", f"vllm/m@{B}#key=KEY_B")
    out = cli("compile", "colours.py", "--dry-run", *roles).stdout
    assert f"student    vllm/m@{A}\n" in out
    assert f"teacher    vllm/m@{B}#key=KEY_B\n" in out


def test_the_shared_server_and_key_are_for_lms_without_an_address() -> None:
    options = LMOptions(student="vllm/m", judge=f"vllm/j@{B}", base_url=[A], api_key_env="KEY_A")
    changes = lm_overrides(options, teacher=f"vllm/t@{B}#key=KEY_B")
    assert changes.student == LMChoice(model="vllm/m", base_urls=(A,), api_key_env="KEY_A")
    assert changes.judge == LMChoice(model=f"vllm/j@{B}")
    assert changes.teacher == LMChoice(model=f"vllm/t@{B}#key=KEY_B")


def test_an_lm_keeps_the_key_variable_in_its_name() -> None:
    options = LMOptions(student="openai/m#key=KEY_B", judge="openai/j", api_key_env="KEY_A")
    changes = lm_overrides(options)
    assert changes.student is not None
    assert changes.student.lm().api_key == "sesame-b"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"base_url": [A]}, "--base-url is the server of the LMs that are named without an addr"),
        ({"api_key_env": "KEY_A"}, "write #key=KEY_A after the LM's address"),
    ],
)
def test_a_shared_option_for_no_lm_is_refused(option: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        lm_overrides(LMOptions(student=f"vllm/m@{B}", **option))


def test_decoding_options_replace_what_the_table_says(folder: Path) -> None:
    (folder / "lmpipe.toml").write_text(f'[lms.a]\nmodel = "vllm/a@{A}"\ntemperature = 1')
    changes = lm_overrides(LMOptions(student="a", temperature=0.5))
    assert changes.student is not None
    assert changes.student.lm().temperature == 0.5


def test_a_key_on_the_command_line_is_refused_and_not_shown(cli: Cli) -> None:
    result = cli("compile", "colours.py", "--student", f"vllm/m@{A}#key=sk-sesame")
    assert result.exit_code == 2
    assert "never write the key itself" in " ".join(result.output.split())
    assert "sesame" not in result.output


def test_a_missing_key_stops_a_compile_with_its_variable(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEY_A")
    result = cli("compile", "colours.py", "--student", f"vllm/m@{A}#key=KEY_A")
    assert result.exit_code == 2
    assert "export KEY_A=" in result.output


def test_a_wrong_table_is_refused_with_its_file_and_key(cli: Cli, folder: Path) -> None:
    (folder / "lmpipe.toml").write_text('[lms.a]\nmodel = "vllm/a"\ncontextt = 1')
    with pytest.raises(ConfigError, match=r"lmpipe\.toml: \[lms\.a\]: unknown key 'contextt'"):
        lm_overrides(LMOptions(student="a"))


def doctor(cli: Cli) -> dict[str, Any]:
    checks = json.loads(cli("doctor", "--json").stdout)["checks"]
    return {check["name"]: check for check in checks}["named LMs"]


def test_doctor_lists_the_lms_of_the_table(cli: Cli, folder: Path) -> None:
    (folder / "lmpipe.toml").write_text(f'[lms]\na = "vllm/a@{A}#key=KEY_A"\nb = "openai/b"')
    check = doctor(cli)
    assert check["status"] == "ok"
    assert check["found"].startswith(f"a = vllm/a@{A}#key=KEY_A, b = openai/b, of ")


def test_doctor_names_keys_that_are_not_set(cli: Cli, folder: Path) -> None:
    (folder / "lmpipe.toml").write_text('[lms]\na = "openai/a#key=ABSENT_KEY"')
    assert (doctor(cli)["status"], doctor(cli)["remedy"]) == ("broken", "export ABSENT_KEY=…")


def test_doctor_shows_what_is_wrong_in_the_table(cli: Cli, folder: Path) -> None:
    (folder / "lmpipe.toml").write_text("[lms.a]\nmodel = 3")
    check = doctor(cli)
    assert check["status"] == "broken"
    assert "[lms.a]: it needs a model" in check["found"]


def test_a_project_without_a_table_lacks_nothing(cli: Cli) -> None:
    check = doctor(cli)
    assert check["status"] == "ok"
    assert check["found"].startswith("none: ")
