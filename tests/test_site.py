"""The site: its pages are put together from the repository, and its checks find what is wrong."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from helpers.filler import fill
from helpers.pages import ROOT, examples_of, run_examples

import lmpipe

sys.path.insert(0, str(ROOT / "docs"))
from assemble.__main__ import navigation
from assemble.links import check_site
from assemble.pages import LinkError, assemble, linked, sources


def test_the_navigation_has_every_page(tmp_path: Path) -> None:
    assert sorted(navigation()) == assemble(tmp_path)


def test_no_page_is_twice_in_the_navigation() -> None:
    assert len(list(navigation())) == len(set(navigation()))


def test_every_source_exists() -> None:
    assert [source for source in sources() if not (ROOT / source).is_file()] == []


def test_the_site_asks_no_other_server() -> None:
    config = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    assert config["project"]["theme"]["font"] is False


@pytest.mark.parametrize(
    "page", ["index.md", "errors.md", "signatures.md", "evaluating.md", "compiling.md"]
)
def test_the_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "programs").symlink_to(ROOT / "programs")
    monkeypatch.chdir(tmp_path)
    with lmpipe.using(lm=lmpipe.ScriptedLM(fill)):
        run_examples(examples_of(page), tmp_path)


@pytest.mark.parametrize(
    ("source", "text", "shown"),
    [
        ("programs/README.md", "[agents](../docs/agents.md#steps)", "[agents](../a.md#steps)"),
        ("CHANGELOG.md", "[`agents`](docs/agents.md)", "[`agents`](a.md)"),
        ("docs/agents.md", "[the code](../Makefile)", "the code"),
        ("docs/agents.md", "[a site](https://example.org)", "[a site](https://example.org)"),
        ("docs/agents.md", "```\n[x](nowhere.md)\n```", "```\n[x](nowhere.md)\n```"),
    ],
)
def test_links_are_those_of_the_site(source: str, text: str, shown: str) -> None:
    places = {
        "docs/agents.md": "a.md",
        "CHANGELOG.md": "changelog.md",
        "programs/README.md": "gallery/index.md",
    }
    assert linked(text, source, places) == shown


def test_a_link_to_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LinkError, match=r"docs/agents\.md links to nowhere\.md"):
        linked("[x](nowhere.md)", "docs/agents.md", {"docs/agents.md": "agents.md"})


def site(folder: Path, **pages: str) -> Path:
    for name, body in pages.items():
        file = folder / name / "index.html"
        file.parent.mkdir(parents=True)
        file.write_text(f"<html><body>{body}</body></html>", encoding="utf-8")
    return folder


PAGES = ["one.md", "two.md"]


def test_a_site_without_faults_has_none(tmp_path: Path) -> None:
    good = '<a href="../two/#here">two</a> <a href="https://example.org/x">out</a> <code>- a</code>'
    made = site(tmp_path, one=good, two='<h2 id="here">Here</h2>')
    assert check_site(made, set(PAGES), PAGES) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="../three/">three</a>', "one/index.html links to ../three/: no such file"),
        (
            '<a href="../two/#there">two</a>',
            "one/index.html links to ../two/#there: no such anchor",
        ),
        ('<a href="#there">here</a>', "one/index.html links to #there: no such anchor"),
        ('<img src="a.svg">', "one/index.html links to a.svg: no such file"),
        ("<p>text\n- not a list</p>", "one/index.html shows Markdown as text: - not a list"),
        ("<p>a [link](x.md)</p>", "one/index.html shows Markdown as text: a [link](x.md)"),
    ],
)
def test_a_fault_of_a_page_is_found(tmp_path: Path, body: str, fault: str) -> None:
    made = site(tmp_path, one=body, two='<h2 id="here">Here</h2>')
    assert check_site(made, set(PAGES), PAGES) == [fault]


def test_faults_of_the_navigation_are_found(tmp_path: Path) -> None:
    made = site(tmp_path, one="", two="")
    assert check_site(made, {"one.md", "three.md"}, PAGES) == [
        "two.md is not in the navigation of zensical.toml",
        "zensical.toml names three.md, which does not exist",
    ]
