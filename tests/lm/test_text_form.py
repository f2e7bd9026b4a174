"""The text form of an LM: read, written, and without keys."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.lm import LM, as_lm
from lmpipe.lm.providers import open_provider
from lmpipe.lm.text_form import TextForm, parse_text_form

QWEN = "vllm/Qwen/Qwen2.5-7B-Instruct"
URL = "http://127.0.0.1:8001/v1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (QWEN, TextForm(QWEN)),
        (f"{QWEN}@{URL}", TextForm(QWEN, (URL,))),
        (f"{QWEN}@{URL}#key=MY_KEY", TextForm(QWEN, (URL,), "MY_KEY")),
        (
            "openai/m@http://a/v1,https://b/v1",
            TextForm("openai/m", ("http://a/v1", "https://b/v1")),
        ),
        ("openai/gpt-4o-mini#key=K", TextForm("openai/gpt-4o-mini", (), "K")),
        ("vertex_ai/claude-3@20240229", TextForm("vertex_ai/claude-3@20240229")),
        ("bedrock/a@1@HTTPS://h", TextForm("bedrock/a@1", ("HTTPS://h",))),
        ("azure/m@https://h/x?api-version=1", TextForm("azure/m", ("https://h/x?api-version=1",))),
        ("local//models/a@http://b#c=d.gguf", TextForm("local//models/a@http://b#c=d.gguf")),
        ("fireworks_ai/accounts/f/models/m#a/b", TextForm("fireworks_ai/accounts/f/models/m#a/b")),
    ],
)
def test_a_text_is_read(text: str, expected: TextForm) -> None:
    assert parse_text_form(text) == expected


MODELS = st.from_regex(r"(vllm|openai)/[A-Za-z0-9._/-]{1,12}(@[0-9]{1,8})?", fullmatch=True)
ADDRESSES = st.from_regex(
    r"https?://[a-z0-9]{1,8}(:[1-9][0-9]{0,3})?(/[a-z0-9]{1,4}){0,2}", fullmatch=True
)
VARIABLES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)


@given(MODELS, st.lists(ADDRESSES, max_size=3), st.none() | VARIABLES)
def test_what_is_written_is_read_back(model: str, urls: list[str], variable: str | None) -> None:
    form = TextForm(model, tuple(urls), variable)
    assert parse_text_form(str(form)) == form


@given(st.text() | st.builds("{}@http://{}#key={}".format, MODELS, st.text(), st.text()))
def test_any_other_text_is_read_or_refused(text: str) -> None:
    try:
        form = parse_text_form(text)
    except ConfigError:
        return
    assert form.model == text or form.settings


def test_an_lm_is_where_its_name_says() -> None:
    lm = LM(f"{QWEN}@http://a/v1/,http://b/v1")
    assert (lm.model, lm.base_url, lm.replicas) == (QWEN, "http://a/v1", ("http://b/v1",))
    assert lm.identity() == LM(QWEN, base_url="http://a/v1").identity()


def test_an_lm_has_the_key_of_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame-1234")
    lm = as_lm(f"{QWEN}@{URL}#key=MY_KEY")
    assert lm.api_key == "sesame-1234"
    assert lm == LM(QWEN, base_url=URL, api_key_env="MY_KEY")


def test_the_variable_of_the_key_is_not_in_cache_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame-1234")
    assert LM(f"{QWEN}@{URL}#key=MY_KEY").identity() == LM(f"{QWEN}@{URL}").identity()


def test_an_lm_is_shown_as_its_text_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame-1234")
    text = f"{QWEN}@http://a/v1,http://b/v1#key=MY_KEY"
    assert str(LM(text)) == text
    assert "sesame" not in f"{LM(text)} {LM(text)!r}"


def test_passwords_are_not_shown() -> None:
    lm = LM("openai/m", base_url="http://me:sesame@h/v1?key=pass", api_key="sk-1")
    assert str(lm) == "openai/m@http://h/v1"


def test_a_pickled_lm_knows_the_variable_of_its_key() -> None:
    assert str(pickle.loads(pickle.dumps(LM(f"{QWEN}#key=MY_KEY")))) == f"{QWEN}#key=MY_KEY"


def test_recipes_settings_and_predictors_take_text_forms() -> None:
    text = f"{QWEN}@{URL}"
    with lmpipe.using(lm=text, embedder=text) as settings:
        assert str(settings.lm) == str(settings.embedder) == text
    assert str(lmpipe.Predict("a -> b", lm=text).lm) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{QWEN}@http://me:sesame@h/v1", "must not contain a key or a password.*#key=VARIABLE"),
        (f"{QWEN}@http://me:ses#ame@h/v1", "must not contain a key or a password"),
        (f"{QWEN}@http://h/v1?key=sesame", "must not contain a key or a password"),
        (f"{QWEN}@http://h/v1?api_key=sesame#key=K", "must not contain a key or a password"),
        (f"{QWEN}@{URL}#key=sk-sesame", "name of the environment variable.*never write the key"),
        (f"{QWEN}@{URL}#key=gsk_sesame", "name of the environment variable"),
        (f"{QWEN}@{URL}#key=$KEY", "name of the environment variable"),
        (f"{QWEN}@{URL}#key=", "name of the environment variable"),
        (f"{QWEN}@{URL}#temperature=1", r"expected only #key=VARIABLE after.*lmpipe\.toml"),
        (f"{QWEN}#api_key=sesame", "expected only #key=VARIABLE"),
        (f"{QWEN}@http://", "is not the address of a server: write @http://127"),
        (f"{QWEN}@http://h:port/v1", "is not the address of a server"),
        (f"{QWEN}@http://a/v1,b:8000/v1", "replicas as @http://a:8000/v1,http://b"),
        (f"@{URL}", "needs a model name"),
        ("anthropic/m@http://a,http://b", "several addresses are for OpenAI-compatible"),
    ],
)
def test_a_wrong_text_is_refused_and_shows_no_secret(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        LM(text)
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "argument"),
    [(f"{QWEN}@{URL}", {"base_url": URL}), (f"{QWEN}#key=K", {"api_key_env": "L"})],
)
def test_nothing_is_given_twice(text: str, argument: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"gives {next(iter(argument))} twice: remove one"):
        LM(text, **argument)


def test_no_other_address_is_none() -> None:
    assert str(LM(f"{QWEN}@{URL}#key=K", base_url=None, api_key_env=None)) == f"{QWEN}@{URL}#key=K"


def test_a_key_in_place_of_its_variable_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="name of the environment variable") as raised:
        LM("openai/m", api_key_env="sk-sesame")
    assert "sesame" not in str(raised.value)


def test_a_variable_in_small_letters_may_be_named_if_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("my_key", "sesame-1234")
    assert LM(f"{QWEN}@{URL}#key=my_key").api_key == "sesame-1234"


def test_a_missing_key_is_an_error_only_when_the_server_is_asked() -> None:
    lm = LM(f"{QWEN}@{URL}#key=ABSENT_KEY")
    with pytest.raises(ConfigError, match=r"ABSENT_KEY, which has its key, is not set.*export"):
        open_provider(lm)


def test_a_given_key_replaces_that_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame-1234")
    assert LM(f"{QWEN}#key=MY_KEY", api_key="other").api_key == "other"


def test_the_state_of_a_program_cannot_say_where_an_lm_is() -> None:
    for model in ("vllm/other@http://evil/v1", "vllm/other#key=OPENAI_API_KEY"):
        with pytest.raises(ConfigError, match="must not say where it is served"):
            LM(f"{QWEN}@{URL}").with_model(model)
