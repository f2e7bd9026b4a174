"""docs/errors.md: each error has a section, and what it quotes is what lmpipe raises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.pages import read_page
from helpers.raised_errors import CASES, Case

from lmpipe import errors
from lmpipe.errors import LmpipeError

PAGE = read_page("errors.md")
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^#|\Z)", PAGE, re.M | re.S))
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, LmpipeError) and kind is not LmpipeError
}


def messages_of(section: str) -> list[str]:
    return [text.strip() for text in re.findall(r"^```text\n(.*?)^```$", section, re.M | re.S)]


def as_pattern(message: str) -> str:
    """A message of the page, where ⟨…⟩ stands for any part of a line."""
    return re.escape(message).replace("⟨…⟩", r"[^\n]*")


def test_each_error_has_a_section() -> None:
    assert set(SECTIONS) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_a_section_begins_with_what_the_class_says(name: str) -> None:
    said = (CLASSES[name].__doc__ or "").partition("\n\n")[0].strip()
    assert " ".join(SECTIONS[name].split()).startswith(" ".join(said.split()))


@pytest.mark.parametrize("name", CLASSES)
def test_a_section_has_a_remedy_for_each_message(name: str) -> None:
    section = SECTIONS[name]
    assert len(messages_of(section)) == len(CASES.get(name, []))
    assert section.count("\n**Remedy.** ") == len(messages_of(section))


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in CASES])
def test_a_class_without_a_message_only_groups_others(name: str) -> None:
    assert CLASSES[name].__subclasses__()


@pytest.mark.parametrize(
    ("name", "case", "number"),
    [
        pytest.param(name, case, number, id=f"{name}-{case.__name__}")
        for name, cases in CASES.items()
        for number, case in enumerate(cases)
    ],
)
def test_a_message_is_what_lmpipe_raises(
    name: str, case: Case, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CLASSES[name]) as caught:
        case(monkeypatch)
    assert type(caught.value) is CLASSES[name]
    shown = messages_of(SECTIONS[name])[number]
    assert re.fullmatch(as_pattern(shown), str(caught.value)), str(caught.value)


def test_the_tree_is_that_of_the_code() -> None:
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    drawn = re.findall(r"^ +([│ ├└─]*)(\w+Error)\b", tree, re.M)
    parents: list[str] = []
    found = {}
    for line, name in drawn:
        depth = len(line) // 4
        parents = [*parents[:depth], name]
        found[name] = parents[-2] if depth else None
    expected = {
        name: next(base.__name__ for base in kind.__mro__[1:] if issubclass(base, LmpipeError))
        for name, kind in CLASSES.items()
    }
    assert found == {"LmpipeError": None, **expected}
