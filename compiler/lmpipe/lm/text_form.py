"""The text form of an LM: its model, the addresses of its servers, and the variable with its key.

    vllm/Qwen/Qwen2.5-7B-Instruct
    vllm/Qwen/Qwen2.5-7B-Instruct@http://127.0.0.1:8001/v1
    vllm/Qwen/Qwen2.5-7B-Instruct@http://a:8000/v1,http://b:8000/v1#key=MY_KEY
    openai/gpt-4o-mini#key=WORK_KEY

A shell passes all of it on unquoted. Model names may contain `@`, as those of Vertex and Bedrock
do: only `@http://` and `@https://` begin an address. A text form never holds a key.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from lmpipe.errors import ConfigError
from lmpipe.foundation.redaction import public_url, secrets_in_url

if TYPE_CHECKING:
    from lmpipe.lm.project_table import NamedLM

_ADDRESS = re.compile(r"@(?=https?://)", re.IGNORECASE)
_NEXT_ADDRESS = re.compile(r"\s*,\s*(?=https?://)", re.IGNORECASE)
_SETTING = re.compile(r"#(?=\w+=)")
_PLACE = ("base_url", "api_key_env")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


Init = TypeVar("Init", bound=Callable[..., None])


@dataclass(frozen=True, slots=True)
class TextForm:
    """What a text says of an LM."""

    model: str
    base_urls: tuple[str, ...] = ()
    api_key_env: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What it says beside the model, as arguments of `LM`."""
        given = dict(zip(_PLACE, (self.base_urls, self.api_key_env), strict=True))
        return {name: value for name, value in given.items() if value}

    def __str__(self) -> str:
        at = f"@{','.join(self.base_urls)}" if self.base_urls else ""
        key = f"#key={self.api_key_env}" if self.api_key_env else ""
        return f"{self.model}{at}{key}"


def parse_text_form(text: str) -> TextForm:
    """Read the text form of an LM.

    Raises:
        ConfigError: if it has a key or a password, an incomplete address, or another setting.
    """
    if text.startswith("local/"):
        return TextForm(text)  # the path of a file, which may contain anything
    model, *addresses = _ADDRESS.split(text, maxsplit=1)
    if addresses:
        if "@" in addresses[0]:
            raise _secret_in(f"{model}@…")
        rest, _, setting = addresses[0].partition("#")
        base_urls = tuple(_NEXT_ADDRESS.split(rest.strip()))
    else:
        model, *settings = _SETTING.split(text, maxsplit=1)
        setting, base_urls = "".join(settings), ()
    for url in base_urls:
        _check_address(model, url)
    return TextForm(model, base_urls, _key_variable(model, setting) if setting else None)


def check_key_variable(owner: str, variable: str) -> None:
    """Check that this is the name of an environment variable, rather than a key.

    Raises:
        ConfigError: if it is none, without showing it.
    """
    named = _VARIABLE.fullmatch(variable) is not None
    # Many keys would be valid names, such as gsk_a1B2; names of variables are in capitals.
    if not named or (variable != variable.upper() and variable not in os.environ):
        raise ConfigError(
            f"{owner}: expected the name of the environment variable that has the key, in "
            "capitals; never write the key itself: run `export MY_KEY=…` and name MY_KEY"
        )


def _key_variable(model: str, setting: str) -> str:
    name, _, variable = setting.partition("=")
    if name != "key":
        raise ConfigError(
            f"{model}#{name:.20}…: expected only #key=VARIABLE after the name or the address of "
            "an LM; give other settings in lmpipe.toml, or in Python as arguments of LM"
        )
    check_key_variable(f"{model}#key=…", variable)
    return variable


def _check_address(model: str, url: str) -> None:
    shown = f"{model}@{public_url(url)}"
    if secrets_in_url(url):
        raise _secret_in(shown)
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or re.search(r"[\s,]", url):
        raise ConfigError(
            f"{shown}: this is not the address of a server: write @http://127.0.0.1:8000/v1, or "
            "replicas as @http://a:8000/v1,http://b:8000/v1"
        )


def _secret_in(shown: str) -> ConfigError:
    return ConfigError(
        f"{shown}: the name of an LM must not contain a key or a password: put the key into an "
        "environment variable and write #key=VARIABLE after the address, or write "
        "LM(…, base_url=…, api_key=…) in Python"
    )


def takes_text_form(init: Init) -> Init:
    """Let the constructor of `LM` take a text form, or a name in the project's table of LMs.

    The arguments that are given replace those of the table.
    """

    @functools.wraps(init)
    def init_from_text(lm: object, model: str, **given: Any) -> None:
        if isinstance(model, str) and ("@" in model or "#" in model or _may_be_named(model)):
            model, given = _in_full(model, given)
        init(lm, model, **given)

    return cast(Init, init_from_text)


def is_named(model: str) -> bool:
    """Whether this is a name in the project's table of LMs."""
    return _named(model) is not None


def _in_full(text: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model of a text, and all arguments of `LM`."""
    form = parse_text_form(text)
    # None does not name another address: a parameter that is None is left out.
    given = {k: value for k, value in given.items() if value is not None or k not in _PLACE}
    if twice := sorted(form.settings.keys() & given.keys()):
        raise ConfigError(f"LM({str(form)!r}, {twice[0]}=…) gives {twice[0]} twice: remove one")
    given = {**form.settings, **given}
    if (named := _named(form.model)) is None:
        return form.model, given
    settings = {**named.settings, **given}
    if given.get("api_key") and "api_key_env" not in given:
        settings.pop("api_key_env", None)  # another key takes the place of the table's
    return named.model, settings


def _named(model: str) -> NamedLM | None:
    if not _may_be_named(model):
        return None
    from lmpipe.lm.project_table import project_table  # it reads files, and imports this module

    table = project_table()
    return table.named(model) if table else None


def _may_be_named(model: str) -> bool:
    return "/" not in model and model not in ("", "local")
