"""The files of a new project: those of `project_template`, with the project's name and LM."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from os import sep
from os.path import abspath, lexists
from pathlib import Path

from lmpipe.errors import ConfigError
from lmpipe.foundation.storing import storing
from lmpipe.lm.lm import LM

TEMPLATE = Path(__file__).parent / "project_template"
DEFAULT_LM = "local"

# A dot at the beginning of a template's name would hide files from tools that read this folder.
_DOT = "dot-"
_RENDERED = ".j2"
_LOCAL = Path("local.mk")


@dataclass(frozen=True, slots=True)
class NewProject:
    """A project that was written.

    Args:
        folder: where it is.
        lm: the name of the LM that its program runs on.
        files: its files, relative to the folder.
        missing: what this Python lacks to test, compile and serve it, as arguments of pip.
    """

    folder: Path
    lm: str
    files: tuple[Path, ...]
    missing: tuple[str, ...]


def write_project(folder: Path, lm: str = DEFAULT_LM) -> NewProject:
    """Write a new project into a folder, which may exist and hold other files.

    Args:
        folder: the project's folder; its name is the project's.
        lm: the name of the LM that its program runs on, or a weights file (`.gguf`).

    Raises:
        ConfigError: if the LM has no such name, or a file is there already; nothing is written.
        StorageError: if a file cannot be written; what was written is removed.
    """
    model = _lm_name(lm)
    # Bytes of a name that are not UTF-8 cannot be written into a text.
    name = abspath(folder).rpartition(sep)[2].encode(errors="replace").decode()
    texts = dict(_texts(name, model))
    _refuse_existing(folder, texts)
    _write(folder, texts)
    return NewProject(folder, model, tuple(texts), _missing(model))


def _lm_name(text: str) -> str:
    """Check an LM's name; that of a weights file is made of its path."""
    if text.endswith(".gguf") and not text.startswith("local/"):
        path = Path(text).expanduser().resolve()
        if not path.is_file():
            raise ConfigError(f"--lm {text}: no such weights file; give the path of a .gguf file")
        return f"local/{path}"
    lm = LM(text)
    if not lm.name and lm.provider != "local":
        raise ConfigError(
            f'--lm {text}: this is not the name of an LM: write "<provider>/<model>", such as '
            'openai/gpt-5.1, the path of a .gguf file, or "local" for the embedded LM'
        )
    return text


def _texts(name: str, lm: str) -> Iterator[tuple[Path, bytes]]:
    """Yield the files of a project: each path in it, and the content."""
    import jinja2

    import lmpipe

    values = {
        "name": name,
        "lm": json.dumps(lm, ensure_ascii=False),  # also a string of TOML
        "lm_words": _lm_words(lm),
        "extras": ",".join(_extras(lm)),
        "version": lmpipe.__version__,
    }
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - these are texts, not pages
    )
    for file in sorted(TEMPLATE.rglob("*")):
        if not file.is_file() or file.suffix == ".pyc":
            continue
        parts = [
            part.replace(_DOT, ".", 1) if part.startswith(_DOT) else part
            for part in file.relative_to(TEMPLATE).parts
        ]
        content = file.read_bytes()
        if parts[-1].endswith(_RENDERED):
            parts[-1] = parts[-1].removesuffix(_RENDERED)
            content = environment.from_string(content.decode()).render(values).encode()
        yield Path(*parts), content
    yield _LOCAL, _local(Path(sys.executable)).encode()


def _local(python: Path) -> str:
    """Return the file that tells make which Python runs here."""
    shown = str(python).replace("$", "$$").replace("#", "\\#")
    # Make does not quote: a path with a space would be two words of a command.
    quoted = f"'{shown}'" if " " in shown else shown
    return (
        f"# Written by `lmpipe init`: this machine's Python. Git ignores it.\nPYTHON ?= {quoted}\n"
    )


def _lm_words(lm: str) -> str:
    if lm == DEFAULT_LM:
        return (
            "`local`, a small one (SmolLM2-135M) that runs inside the process; its weights are "
            "downloaded on first\nuse (100 MB)"
        )
    return f"`{lm}`"


def _extras(lm: str) -> list[str]:
    """Return the extras of lmpipe that a project with this LM needs."""
    described = LM(lm)
    if described.provider == "local":
        # local/<owner>/<repo>/<file>.gguf comes from the hub; a path begins with a slash.
        from_hub = described.name.count("/") >= 2 and not described.name.startswith("/")
        return ["local", *(["hub"] if from_hub else []), "serve"]
    if described.provider in ("vllm", "openai"):
        return ["serve"]
    return ["litellm", "serve"]


def _missing(lm: str) -> tuple[str, ...]:
    """Return what this Python lacks, as arguments of pip."""
    modules = {
        "local": ("xllamacpp",),
        "hub": ("huggingface_hub",),
        "litellm": ("litellm",),
        "serve": ("starlette", "uvicorn"),
    }
    extras = [
        extra
        for extra in _extras(lm)
        if any(find_spec(module) is None for module in modules[extra])
    ]
    wanted = [f"lmpipe[{','.join(extras)}]"] if extras else []
    return (*wanted, *(["pytest"] if find_spec("pytest") is None else []))


def _refuse_existing(folder: Path, texts: Mapping[Path, bytes]) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: this is a file; give a folder for the project")
    there = [str(path) for path in texts if lexists(folder / path) or _is_file_above(folder, path)]
    if there:
        shown = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
        raise ConfigError(
            f"{folder} has files of these names already: {shown}; nothing was written. Give "
            "another folder, or move them away"
        )


def _is_file_above(folder: Path, path: Path) -> bool:
    """Whether a folder that the project needs is a file."""
    above = [folder / parent for parent in path.parents if parent != Path()]
    return any(parent.exists() and not parent.is_dir() for parent in above)


def _write(folder: Path, texts: Mapping[Path, bytes]) -> None:
    made: list[Path] = []
    try:
        for path, content in texts.items():
            target = folder / path
            with storing(target):
                _make_folders(target.parent, made)
                with target.open("xb") as file:
                    made.append(target)
                    file.write(content)
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it, and note them."""
    if folder.is_dir():
        return
    _make_folders(folder.parent, made)
    folder.mkdir()
    made.append(folder)
