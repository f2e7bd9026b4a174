"""The table of LMs in a project's `lmpipe.toml` or `pyproject.toml`: names for LMs and settings.

    [lms]                                   # [tool.lmpipe.lms] in pyproject.toml
    judge = "openai/gpt-4o-mini"

    [lms.student]
    model = "vllm/Qwen/Qwen2.5-7B-Instruct"
    base_url = ["http://127.0.0.1:8001/v1", "http://127.0.0.1:8002/v1"]
    api_key_env = "VLLM_KEY"
    price = [0.2, 0.6]
    limits = { in_flight = 32 }
    temperature = 0.7

The keys are the arguments of `LM`. A table is never written, and never holds a key.
"""

from __future__ import annotations

import difflib
import inspect
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmpipe.errors import ConfigError
from lmpipe.foundation.redaction import is_secret_name, secrets_in
from lmpipe.lm.lm import LM, Limits
from lmpipe.lm.parameters import KNOWN
from lmpipe.lm.prices import Price
from lmpipe.lm.text_form import parse_text_form
from lmpipe.lm.tls import TLS

OWN_FILE = "lmpipe.toml"
_RECORDS = {"limits": Limits, "price": Price, "tls": TLS}
_REPOSITORY = (".git", ".hg")


@dataclass(frozen=True, slots=True)
class NamedLM:
    """One LM of a table: its model and the other arguments of `LM`."""

    model: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProjectTable:
    """The LMs that a project names, and the file that says so."""

    file: Path
    section: str  # such as `lms`, or `tool.lmpipe.lms`
    entries: Mapping[str, Any]

    def named(self, name: str) -> NamedLM | None:
        """Return the LM of a name; None if the table does not have it.

        Raises:
            ConfigError: if its entry is wrong.
        """
        if name not in self.entries:
            return None
        try:
            return _read_entry(self.entries[name], self.entries)
        except ConfigError as error:
            raise ConfigError(f"{self.file}: [{self.section}.{name}]: {error}") from None


def project_table() -> ProjectTable | None:
    """Find the table of LMs that is nearest to the current folder, upwards.

    The search ends at the repository's root, and below a folder above the current one that is
    shared by all users, such as /tmp: what its files say may not be the user's.

    Raises:
        ConfigError: if its file is not valid.
    """
    for folder in _folders():
        for file in (folder / OWN_FILE, folder / "pyproject.toml"):
            try:
                state = file.stat()
            except OSError:
                continue
            if table := _read(file, state.st_mtime_ns, state.st_size):
                return table
    return None


def names_in_table() -> str:
    """List the names of the table and its file, for an error; empty if there is no table."""
    table = project_table()
    return f" ({table.file} has {', '.join(table.entries)})" if table else ""


def _folders() -> Iterator[Path]:
    try:
        here = Path.cwd()
    except OSError:  # it was deleted
        return
    for folder in (here, *here.parents):
        if folder != here and folder.stat().st_mode & stat.S_ISVTX:
            return
        yield folder
        if any((folder / name).exists() for name in _REPOSITORY):
            return


@lru_cache(maxsize=64)
def _read(file: Path, mtime_ns: int, size: int) -> ProjectTable | None:
    """Read the table of a file; None if it has none."""
    try:
        found: Any = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}; correct it, or remove it") from None
    section = "lms"
    if file.name != OWN_FILE:
        section = "tool.lmpipe.lms"
        tools = found.get("tool")
        found = tools.get("lmpipe", {}) if isinstance(tools, dict) else {}
        if not isinstance(found, dict):
            raise ConfigError(f"{file}: tool.lmpipe must be a table, not {found!r:.80}")
    if wrong := sorted(found.keys() - {"lms"}):
        raise ConfigError(
            f"{file}: unknown key {wrong[0]!r}: lmpipe reads only [{section}], the table of LMs"
        )
    entries = found.get("lms", {})
    if not isinstance(entries, dict):
        raise ConfigError(
            f"{file}: {section} must be a table of LMs by name, such as [{section}.student], not "
            f"{entries!r:.80}"
        )
    for name in entries:
        _check_name(f"{file}: [{section}]", name)
    return ProjectTable(file, section, entries) if entries else None


def _check_name(where: str, name: str) -> None:
    if not name.strip() or name == "local" or any(sign in name for sign in "/@#"):
        raise ConfigError(
            f"{where}: {name!r} cannot be the name of an LM: give one without /, @ and #, other "
            "than local"
        )


def _read_entry(entry: Any, names: Mapping[str, Any]) -> NamedLM:
    """Check an entry and convert it; raise a ConfigError if it is wrong."""
    given = {"model": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict):
        raise ConfigError(f"expected a model's name or a table of settings, not {entry!r:.80}")
    model = given.get("model")
    if not isinstance(model, str) or not model:
        raise ConfigError('it needs a model, such as model = "openai/gpt-4o-mini"')
    form = parse_text_form(model)
    if form.model in names:
        raise ConfigError(
            f"model = {form.model!r} is a name in the same table: write the model itself, such as "
            '"openai/gpt-4o-mini"'
        )
    params = given.get("params", {})
    if not isinstance(params, dict):
        raise ConfigError(f"params must be a table of parameters, not {params!r:.80}")
    if known := sorted(params.keys() & {"model", *given, *_options()}):
        raise ConfigError(f"params must not have {known[0]}: write it beside params")
    settings = {
        **{name: _value(name, given[name]) for name in given if name not in ("model", "params")},
        **{name: _not_secret(name, value) for name, value in params.items()},
    }
    if twice := sorted(form.settings.keys() & settings.keys()):
        raise ConfigError(f"{twice[0]} is given twice, also in model = {model!r}: remove one")
    named = NamedLM(form.model, {**form.settings, **settings})
    LM(named.model, **named.settings)  # raises if a value is not valid
    return named


def _value(name: str, value: Any) -> Any:
    """Check one key of an entry, and convert its value."""
    options = _options()
    if name not in ("api_key_env", *options):
        _not_secret(name, value)
    if name not in options and name not in KNOWN:
        near = difflib.get_close_matches(name, options, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"an LM has {', '.join(options)}."
        raise ConfigError(
            f"unknown key {name!r}: {meant} A parameter that only its server knows goes into "
            "params = { … }"
        )
    if name in ("api_key_env", "adapter"):
        _check_text(name, value)
    elif name == "base_url":
        for url in value if isinstance(value, list) else [value]:
            _check_text(name, url)
            _not_secret(name, url)
    elif name in _RECORDS and not (name == "price" and isinstance(value, list)):
        return _record(name, value)
    return value


def _record(name: str, value: Any) -> Any:
    record = _RECORDS[name]
    fields = list(inspect.signature(record).parameters)
    if not isinstance(value, dict) or not value.keys() <= set(fields):
        raise ConfigError(
            f"{name} = {value!r:.80}: expected a table with some of {', '.join(fields)}"
        )
    try:
        return record(**value)
    except TypeError as error:  # one is missing
        raise ConfigError(f"{name}: {error}") from None


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} must be a text, not {value!r:.80}")


def _not_secret(name: str, value: Any) -> Any:
    if is_secret_name(name) or any(secrets_in({name: value})):
        raise ConfigError(
            f"{name}: this file must not contain a key or a password: put it into an environment "
            'variable and write api_key_env = "VARIABLE"'
        )
    return value


def _options() -> list[str]:
    """Return the arguments of `LM` that an entry may have, without those that are secret."""
    parameters = inspect.signature(LM).parameters.values()
    return [
        parameter.name
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in ("api_key", "headers")
    ]
