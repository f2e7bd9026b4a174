"""The pages of the reference: every public name, by subject, with its docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assemble.paths import PACKAGE

# Public modules beside the root: their stubs, or the files with their names.
MODULES = {
    "lmpipe.metrics": PACKAGE / "metrics" / "__init__.pyi",
    "lmpipe.errors": PACKAGE / "errors.py",
    "lmpipe.testing": PACKAGE / "testing" / "__init__.pyi",
    "lmpipe.integrations.dspy": PACKAGE / "integrations" / "dspy" / "__init__.py",
}


@dataclass(frozen=True)
class Subject:
    """A page of the reference.

    Args:
        title: its heading.
        about: one sentence.
        rooms: the rooms whose public names it has.
        modules: public modules that it has, with all their names.
    """

    title: str
    about: str
    rooms: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


SUBJECTS = {
    "signatures": Subject("Signatures and fields", "What is declared.", ("signatures",)),
    "modules": Subject("Modules", "Programs and what they are made of.", ("modules",)),
    "lms": Subject(
        "LMs and calls",
        "LMs, messages, settings, and what is known of a call.",
        ("lm", "layouts", "settings", "serving"),
    ),
    "data": Subject("Data", "Examples: reading, splitting, importing.", ("data",)),
    "evaluation": Subject(
        "Evaluation and metrics",
        "Scores, and what they are made of.",
        ("evaluation", "metrics"),
        ("lmpipe.metrics",),
    ),
    "compiling": Subject(
        "Compiling", "From a recipe to a run, and what was learned.", ("compiling", "state")
    ),
    "optimizers": Subject("Optimizers", "The searches, and their engine.", ("optimize",)),
    "watching": Subject(
        "Watching",
        "Traces, compiles at MLflow, and feedback.",
        ("integrations", "monitoring"),
    ),
    "tools": Subject(
        "Tools, retrieval and sandboxes",
        "What programs use beside LMs.",
        ("tools", "retrieval", "sandbox"),
    ),
    "weights": Subject("Weights", "Trainers and their settings.", ("weights",)),
    "errors": Subject(
        "Error classes",
        "What they have beside a message.",
        ("foundation",),
        ("lmpipe.errors",),
    ),
    "testing": Subject("Testing", "Cassettes and the network block.", (), ("lmpipe.testing",)),
    "dspy": Subject("DSPy", "DSPy programs in lmpipe.", (), ("lmpipe.integrations.dspy",)),
}


@dataclass(frozen=True)
class PublicName:
    """A public name, such as `lmpipe.Predict`, and the room that it comes from."""

    path: str
    room: str


def public_names(stub: Path = PACKAGE / "__init__.pyi", module: str = "lmpipe") -> list[PublicName]:
    """Return the classes of a module, or the names that a stub imports to make them public."""
    statements = ast.parse(stub.read_text(encoding="utf-8")).body
    classes = [node.name for node in statements if isinstance(node, ast.ClassDef)]
    if classes:
        return [PublicName(f"{module}.{name}", "") for name in classes]
    names = []
    for node in statements:
        if isinstance(node, ast.ImportFrom) and node.module not in (None, "__future__"):
            room = (node.module or "").partition(".")[0]
            names += [
                PublicName(f"{module}.{item.asname or item.name}", room) for item in node.names
            ]
    return names


def names_of(subject: Subject) -> Iterator[str]:
    """Yield the names of a page, in alphabetical order, those of the root first.

    A name of the root that is also in a public module is shown once, where it comes first.
    """
    shown = set()
    root = [name.path for name in public_names() if name.room in subject.rooms]
    parts = [root, *([n.path for n in public_names(MODULES[m], m)] for m in subject.modules)]
    for part in parts:
        for path in sorted(part, key=str.lower):
            name = path.rpartition(".")[2]
            if name not in shown:
                shown.add(name)
                yield path


def check_subjects() -> None:
    """Check that each public name has a subject.

    Raises:
        SystemExit: a room with public names belongs to no subject.
    """
    known = {room for subject in SUBJECTS.values() for room in subject.rooms}
    for name in public_names():
        if name.room not in known:
            raise SystemExit(
                f"{name.path} comes from the room '{name.room}', which no page of the reference "
                "has. Add the room to a subject in docs/assemble/reference.py."
            )


def reference_pages() -> dict[str, str]:
    """Return the pages of the reference, as Markdown by path."""
    check_subjects()
    pages = {f"reference/{key}.md": _page(subject) for key, subject in SUBJECTS.items()}
    return {"reference/index.md": _index(), **pages}


def _page(subject: Subject) -> str:
    entries = "\n\n".join(f"::: {name}" for name in names_of(subject))
    return f"# {subject.title}\n\n{subject.about}\n\n{entries}\n"


def _index() -> str:
    lines = [
        "# Reference",
        "",
        "Every public name, with what its docstring says. Names under `lmpipe` are imported from "
        "there, whatever file they are in. A name that is on none of these pages may change "
        "without notice.",
        "",
    ]
    for key, subject in SUBJECTS.items():
        names = ", ".join(f"[`{n.rpartition('.')[2]}`]({key}.md#{n})" for n in names_of(subject))
        lines += [f"**[{subject.title}]({key}.md).** {subject.about} {names}", ""]
    lines += ["**[Errors](../errors.md).** What each means, with its message and its remedy."]
    return "\n".join(lines) + "\n"
