"""The table of LMs in `lmpipe.toml` and `pyproject.toml`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lmpipe.errors import ConfigError
from lmpipe.lm.lm import LM, Limits
from lmpipe.lm.prices import Price
from lmpipe.lm.project_table import project_table

TABLE = """
[lms]
cheap = "openai/gpt-4o-mini"
judge = "vllm/Qwen/Q@http://a:1/v1,http://b:1/v1#key=MY_KEY"

[lms.student]
model = "vllm/Qwen/Q"
base_url = ["http://a:1/v1", "http://b:1/v1"]
api_key_env = "MY_KEY"
price = [0.2, 0.6]
limits = { in_flight = 8, rpm = 100 }
context = 32768
timeout = 60
temperature = 0.7
max_tokens = 99
top_p = 0.9
params = { my_flag = true }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder in a project, two below its root."""
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "programs" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    return tmp_path


def write(folder: Path, text: str, name: str = "lmpipe.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_name_stands_for_an_lm_and_its_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sesame-1234")
    write(folder, TABLE)
    assert LM("student") == LM(
        "vllm/Qwen/Q",
        base_url=["http://a:1/v1", "http://b:1/v1"],
        api_key_env="MY_KEY",
        temperature=0.7,
        max_tokens=99,
        top_p=0.9,
        my_flag=True,
    )


def test_settings_that_are_in_no_cache_key_are_read_too(folder: Path) -> None:
    write(folder, TABLE)
    lm = LM("student")
    assert (lm.price, lm.limits) == (Price(0.2, 0.6), Limits(in_flight=8, rpm=100))
    assert (lm.context, lm.timeout, lm.replicas) == (32768, 60, ("http://b:1/v1",))


def test_a_text_form_may_be_all_of_an_entry(folder: Path) -> None:
    write(folder, TABLE)
    assert str(LM("cheap")) == "openai/gpt-4o-mini"
    assert str(LM("judge")) == "vllm/Qwen/Q@http://a:1/v1,http://b:1/v1#key=MY_KEY"


def test_a_price_may_name_its_parts(folder: Path) -> None:
    write(folder, '[lms.a]\nmodel = "openai/m"\nprice = { prompt = 1, completion = 2 }')
    assert LM("a").price == Price(1, 2)


def test_arguments_replace_what_the_table_says(folder: Path) -> None:
    write(folder, TABLE)
    lm = LM("student", base_url="http://c/v1", temperature=0, context=8192, top_p=None)
    assert (lm.base_url, lm.replicas, lm.temperature) == ("http://c/v1", (), 0)
    assert (lm.context, lm.params["top_p"], lm.max_tokens) == (8192, None, 99)


def test_an_address_in_the_text_replaces_that_of_the_table(folder: Path) -> None:
    write(folder, TABLE)
    assert str(LM("student@http://c/v1")) == "vllm/Qwen/Q@http://c/v1#key=MY_KEY"


def test_a_key_that_is_given_takes_the_place_of_the_table_s_variable(folder: Path) -> None:
    write(folder, TABLE)
    lm = LM("student", api_key="sesame-5678")
    assert (lm.api_key, lm.api_key_env) == ("sesame-5678", None)


def test_pyproject_toml_may_have_the_table(folder: Path) -> None:
    write(folder, '[tool.lmpipe.lms]\ncheap = "openai/m"', "pyproject.toml")
    assert LM("cheap").model == "openai/m"


def test_the_nearest_table_holds_and_lmpipe_toml_before_pyproject_toml(folder: Path) -> None:
    write(folder, '[lms]\ncheap = "openai/far"')
    write(folder / "programs", '[tool.lmpipe.lms]\ncheap = "openai/wrong"', "pyproject.toml")
    write(folder / "programs", '[lms]\ncheap = "openai/near"')
    write(folder / "programs" / "inner", "[project]\nname = 'x'", "pyproject.toml")
    assert LM("cheap").model == "openai/near"


def test_no_file_above_the_root_of_the_repository_is_read(folder: Path) -> None:
    (folder / "programs" / ".git").mkdir()
    write(folder, TABLE)
    assert project_table() is None


def test_no_file_is_read_in_a_folder_above_that_all_users_share(folder: Path) -> None:
    write(folder, TABLE)
    folder.chmod(0o1777)
    assert project_table() is None


def test_a_changed_file_is_read_again(folder: Path) -> None:
    file = write(folder, '[lms]\ncheap = "openai/one"')
    assert LM("cheap").model == "openai/one"
    write(folder, '[lms]\ncheap = "openai/two"')
    os.utime(file, ns=(1, 1))
    assert LM("cheap").model == "openai/two"


@pytest.mark.parametrize("model", ["local", "openai/m", "vllm/m@http://h/v1", "local/a.gguf"])
def test_no_file_is_read_for_a_model_with_its_provider(folder: Path, model: str) -> None:
    write(folder, "this is no TOML")
    assert LM(model).provider in ("local", "openai", "vllm")


def test_a_name_that_the_table_does_not_have_is_reported_with_those_that_it_has(
    folder: Path,
) -> None:
    file = write(folder, TABLE)
    with pytest.raises(ConfigError, match=rf"{file} has cheap, judge, student"):
        LM("chaep")


def test_a_state_may_choose_an_lm_of_the_table(folder: Path) -> None:
    write(folder, TABLE)
    assert str(LM("openai/gpt-4o").with_model("cheap")) == "openai/gpt-4o-mini"
    assert LM("vllm/x@http://c/v1").with_model("student").base_url == "http://a:1/v1"


A = '[lms.a]\nmodel = "vllm/m"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (A + "temprature = 1", r"\[lms\.a\]: unknown key 'temprature': did you mean 'temperature'"),
        (A + "colour = 1", r"\[lms\.a\]: unknown key 'colour': an LM has .*base_url.*params = {"),
        (A + 'temperature = "hot"', r"\[lms\.a\]: .*temperature must be a number"),
        (A + "context = 0.5", r"\[lms\.a\]: .*context must be a whole number"),
        (A + "base_url = 5", r"\[lms\.a\]: base_url must be a text, not 5"),
        (A + "api_key_env = 5", r"\[lms\.a\]: api_key_env must be a text"),
        (A + 'api_key_env = "sk-sesame"', r"\[lms\.a\]: .*name of the environment variable"),
        (A + 'api_key = "sesame"', r"\[lms\.a\]: api_key: this file must not contain a key"),
        (A + 'headers = { x-api-key = "sesame" }', r"\[lms\.a\]: headers: this file must not"),
        (A + 'params = { auth_token = "sesame" }', r"\[lms\.a\]: auth_token: this file must not"),
        (A + 'base_url = "http://a:sesame@h/v1"', r"\[lms\.a\]: base_url: this file must not"),
        (A + "params = { limits = 3 }", r"\[lms\.a\]: params must not have limits: write it"),
        (A + "params = 3", r"\[lms\.a\]: params must be a table"),
        (A + "limits = 3", r"\[lms\.a\]: limits = 3: expected a table with some of in_flight, rpm"),
        (A + "limits = { rmp = 3 }", r"\[lms\.a\]: limits = .*some of in_flight, rpm"),
        (A + "limits = { rpm = 0 }", r"\[lms\.a\]: .*rpm must be above 0"),
        (A + "price = [1]", r"\[lms\.a\]: .*dollars per million"),
        (A + "price = { prompt = 1 }", r"\[lms\.a\]: price: .*completion"),
        ("[lms.a]\ntemperature = 1", r"\[lms\.a\]: it needs a model, such as"),
        ("[lms]\na = 3", r"\[lms\.a\]: expected a model's name or a table of settings, not 3"),
        ('[lms]\na = "a"', r"\[lms\.a\]: model = 'a' is a name in the same table"),
        ('[lms]\na = "vllm/m@http://"', r"\[lms\.a\]: .*is not the address of a server"),
        (A.replace("/m", "/m@http://h") + 'base_url = "http://i"', "base_url is given twice"),
        ("lms = 3", "lms must be a table of LMs by name"),
        (A + "[lm.b]\nmodel = 'x'", "unknown key 'lm': lmpipe reads only"),
        ("[lms.local]\nmodel = 'x/y'", r"\[lms\]: 'local' cannot be the name of an LM"),
        ('[lms."x/y"]\nmodel = "x/y"', r"\[lms\]: 'x/y' cannot be the name of an LM"),
        ("lms = [", "cannot be read: .*; correct it, or remove it"),
    ],
)
def test_an_error_names_the_file_and_the_key(folder: Path, text: str, words: str) -> None:
    file = write(folder, text)
    with pytest.raises(ConfigError, match=words) as raised:
        LM("a")
    assert str(raised.value).startswith(f"{file}")
    assert "sesame" not in str(raised.value)


def test_an_error_in_pyproject_toml_names_its_section(folder: Path) -> None:
    write(folder, '[tool.lmpipe.lms.a]\nmodel = "vllm/m"\nx = 1', "pyproject.toml")
    with pytest.raises(ConfigError, match=r"pyproject\.toml: \[tool\.lmpipe\.lms\.a\]: unknown"):
        LM("a")


def test_a_tool_table_that_is_none_is_an_error(folder: Path) -> None:
    write(folder, "[tool]\nlmpipe = 3", "pyproject.toml")
    with pytest.raises(ConfigError, match=r"pyproject\.toml: tool\.lmpipe must be a table, not 3"):
        LM("a")


def test_a_wrong_entry_does_not_keep_from_using_another(folder: Path) -> None:
    write(folder, A + "x = 1\n[lms.b]\nmodel = 'openai/m'")
    assert LM("b").model == "openai/m"


def test_a_folder_that_was_deleted_has_no_table(folder: Path) -> None:
    gone: Any = folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert project_table() is None
