"""What can stand at the end of a command line, from the commands' own declarations.

Commands, options and choices are those that typer knows. Which values an argument or option takes
is told by its metavar (`_VALUES`).
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, get_args

Completion = tuple[str, str]
Values = Callable[[str], Iterable[Completion]]

# A shell would have to quote other names; they are left to its own completion of files.
_PLAIN = re.compile(r"[\w./:@=+,%~-]+")
_RUNS = "runs"
_MAX_FILES = 200


def completions(command: Any, line: str) -> list[Completion]:
    """Return each value that can stand at the end of a line, with its help.

    Args:
        command: the root of the commands, as typer makes it.
        line: the command line up to the cursor; its first word is the program.
    """
    words, last = _split(line)
    if not words:  # the program's own name is being written
        return []
    command, rest = _descend(command, words[1:])
    if not rest and (children := _children(command)) and not last.startswith("-"):
        found: Iterable[Completion] = children
    else:
        found = _of_command(command, rest, last)
    return list({value: text for value, text in found if _fits(value, last)}.items())


def _fits(value: str, last: str) -> bool:
    return value.startswith(last) and _PLAIN.fullmatch(value) is not None


def _split(line: str) -> tuple[list[str], str]:
    """Split a line into its complete words, and the last one, which may be empty."""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        words = line.split()
    last = words.pop() if words and not line[-1:].isspace() else ""
    return words, last


def _descend(command: Any, words: list[str]) -> tuple[Any, list[str]]:
    """Follow the names of commands; return the last one, and the words after it."""
    for number, word in enumerate(words):
        child = getattr(command, "commands", {}).get(word)
        if child is None:
            if word.startswith("-") and hasattr(command, "commands"):
                continue  # such as --version
            return command, words[number:]
        command = child
    return command, []


def _children(command: Any) -> list[Completion]:
    return [
        (name, child.get_short_help_str(limit=80))
        for name, child in getattr(command, "commands", {}).items()
        if not child.hidden
    ]


def _of_command(command: Any, words: list[str], last: str) -> Iterator[Completion]:
    options = {
        name: param
        for param in command.params
        if param.param_type_name == "option" and not getattr(param, "hidden", False)
        for name in (*param.opts, *param.secondary_opts)
    }
    name, equals, value = last.partition("=")
    if equals and name in options:
        for found, text in _values(options[name], value):
            yield f"{name}={found}", text
    elif words and (waiting := options.get(words[-1])) and not _is_flag(waiting):
        yield from _values(waiting, last)
    elif last.startswith("-"):
        yield from ((name, _first_sentence(param.help)) for name, param in options.items())
        yield "--help", "Show the options."
    elif argument := _next_argument(command, words, options):
        yield from _values(argument, last)


def _is_flag(param: Any) -> bool:
    return bool(param.is_flag or param.count)


def _next_argument(command: Any, words: list[str], options: dict[str, Any]) -> Any:
    """Return the argument that comes after some words, or None."""
    given, skip = 0, False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = not _is_flag(options[word])
        elif not word.startswith("-"):
            given += 1
    for argument in (param for param in command.params if param.param_type_name == "argument"):
        if argument.nargs < 0 or given < argument.nargs:
            return argument
        given -= argument.nargs
    return None


def _values(param: Any, last: str) -> Iterable[Completion]:
    if choices := _choices(param):
        return [(choice, "") for choice in choices]
    if param.name in _BY_NAME:
        return _BY_NAME[param.name](last)
    metavar = (param.metavar or "").strip("[].")
    return _VALUES[metavar](last) if metavar in _VALUES else []


def _choices(param: Any) -> list[str]:
    """Return the values of an enumeration."""
    kind = getattr(getattr(param, "type_descriptor", None), "annotation", type(param.default))
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, Enum):
            return [str(member.value) for member in one]
    return list(getattr(getattr(param, "type", None), "choices", ()))


def _first_sentence(text: str | None) -> str:
    return (text or "").split(";")[0].split(". ")[0]


def _targets(last: str) -> Iterator[Completion]:
    """Yield run folders, newest first, and what program files there are."""
    yield from _run_folders(last)
    yield from _program_files(last)


def _run_folders(last: str) -> Iterator[Completion]:
    """Yield the run folders whose path begins with a text; of the folder `runs` without one."""
    name, equals, path = last.rpartition("=")  # serve takes NAME=RUN
    above = _folder_of(path) or f"{_RUNS}/"
    for manifest in sorted(_listed(above, "*/manifest.json"), reverse=True):
        yield f"{name}{equals}{above}{manifest.parent.name}", "run"
    if above == _folder_of(path):
        yield from ((f"{name}{equals}{folder}", text) for folder, text in _folders(above))
    elif Path(_RUNS).is_dir():
        yield f"{name}{equals}{above}", "folder"


def _program_files(last: str) -> Iterator[Completion]:
    """Yield program files and folders; after `FILE.py:`, the names of its recipes."""
    file, colon, _ = last.rpartition(":")
    if colon and file.endswith(".py"):
        for recipe in recipe_names(Path(file)):
            yield f"{file}:{recipe}", "recipe"
        return
    above = _folder_of(last)
    for path in sorted(_listed(above, "*.py")):
        yield f"{above}{path.name}", "program"
    yield from _folders(above)


def _folder_of(path: str) -> str:
    """Return the folder of a path as it is written, with its slash; "" if it has none."""
    above, slash, _ = path.rpartition("/")
    return f"{above}{slash}"


def _folders(above: str) -> Iterator[Completion]:
    """Yield the folders in a folder that are not run folders."""
    for path in sorted(_listed(above, "*/")):
        if path.is_dir() and not (path / "manifest.json").exists() and path.name[0] not in "._":
            yield f"{above}{path.name}/", "folder"


def _listed(folder: str, pattern: str) -> list[Path]:
    try:
        return list(islice(Path(folder or ".").expanduser().glob(pattern), _MAX_FILES))
    except OSError:
        return []


def recipe_names(file: Path) -> list[str]:
    """Return the names of a file's recipes without running it: what `Recipe(…)` is assigned to.

    A variable whose name ends in `recipe` counts too, however it is made.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    names: dict[str, None] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            targets, value = [statement.target], statement.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and (
                _makes_recipe(value) or target.id.endswith("recipe")
            ):
                names[target.id] = None
    return list(names)


def _makes_recipe(value: ast.expr) -> bool:
    if not isinstance(value, ast.Call):
        return False
    made_by = value.func
    return (isinstance(made_by, ast.Name) and made_by.id == "Recipe") or (
        isinstance(made_by, ast.Attribute) and made_by.attr == "Recipe"
    )


def _lms(last: str) -> Iterator[Completion]:
    from lmpipe.errors import ConfigError
    from lmpipe.lm.project_table import project_table

    yield "local", "the embedded LM"
    try:
        table = project_table()
    except ConfigError:
        return
    for name in table.entries if table else ():
        yield name, "of lmpipe.toml"


def _optimizers(last: str) -> Iterator[Completion]:
    from lmpipe.optimize.by_name import optimizer_names

    return ((name, "optimizer") for name in optimizer_names())


_BY_NAME: dict[str, Values] = {
    "optimizer": _optimizers,
    "trainer": lambda last: [("local", ""), ("hosted", "")],
    "file": _program_files,
    "program": _program_files,
}
_VALUES: dict[str, Values] = {
    "TARGET": _targets,
    "RUN": _targets,
    "FOLDER": _run_folders,
    "LM": _lms,
}
