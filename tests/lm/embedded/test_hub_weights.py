"""Weights by their name on the hub: the real huggingface_hub, in front of a small local hub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from helpers.fake_engine import FakeEngine, make_request
from helpers.gguf_file import gguf_file
from helpers.hub_server import COMMIT, HubServer
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded import hub_weights
from lmpipe.lm.embedded.hub_weights import HubName
from lmpipe.lm.embedded.provider import weights_id
from lmpipe.lm.lm import LM
from lmpipe.lm.runtime import Runtime

constants = pytest.importorskip("huggingface_hub.constants")

SMALL, LARGE = gguf_file([]), gguf_file([("a", 0, 1, b"1234")])
PARTS = ("split-00001-of-00002.gguf", "split-00002-of-00002.gguf")
FILES = {
    "README.md": b"# tiny",
    "tiny-Q4_K_M.gguf": SMALL,
    "tiny-Q8_0.gguf": LARGE,
    "mmproj-tiny-Q8_0.gguf": b"a projector",
    PARTS[0]: SMALL,
    PARTS[1]: LARGE,
}
REPO = "team/tiny-GGUF"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Serve some repositories, with an empty cache and an empty working folder."""
    repos = {REPO: FILES, "team/single": {"sub/only.gguf": SMALL}, "team/gated": FILES}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub_weights, "_found", {})
    with HubServer(repos, gated=("team/gated",)) as server:
        server.use(monkeypatch, cache=tmp_path / "hub")
        yield server


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do as if another process asked for the weights, without a network."""
    monkeypatch.setattr(hub_weights, "_found", {})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    "name",
    [
        f"{REPO}/tiny-Q8_0.gguf",
        f"{REPO}/*q8_0.gguf",
        f"{REPO}@v1/tiny-Q8_0.gguf",
        f"{REPO}@{COMMIT}/tiny-q8*",
    ],
)
def test_the_hash_of_the_hubs_file_identifies_the_weights(hub: HubServer, name: str) -> None:
    assert weights_id(LM(f"local/{name}")) == sha256(LARGE).hexdigest()


def test_a_repository_with_one_weights_file_needs_no_file_name(hub: HubServer) -> None:
    assert weights_id(LM("local/team/single")) == sha256(SMALL).hexdigest()


def test_all_parts_of_weights_are_downloaded_and_identify_them(hub: HubServer) -> None:
    found = weights_id(LM(f"local/{REPO}/{PARTS[0]}"))
    assert hub.downloads == [f"{REPO}/{part}" for part in PARTS]
    assert found not in (sha256(SMALL).hexdigest(), sha256(LARGE).hexdigest())


def test_a_file_is_downloaded_once(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = LM(f"local/{REPO}/tiny-Q4_K_M.gguf")
    before = weights_id(lm)
    monkeypatch.setattr(hub_weights, "_found", {})  # as in another process
    assert weights_id(lm) == before
    assert hub.downloads == [f"{REPO}/tiny-Q4_K_M.gguf"]


def test_without_a_network_a_pattern_finds_a_file_in_the_cache(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights_id(LM(f"local/{REPO}/tiny-Q8_0.gguf"))
    forget(monkeypatch)
    assert weights_id(LM(f"local/{REPO}/*Q8_0.gguf")) == before


def test_without_a_network_a_file_that_is_not_in_the_cache_is_an_error(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch)
    with pytest.raises(ConfigError, match=r"hub cannot be reached.*hf download team/tiny-GGUF"):
        weights_id(LM(f"local/{REPO}/tiny-Q8_0.gguf"))


def test_a_path_that_exists_is_not_looked_up_on_the_hub(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / REPO).mkdir(parents=True)
    (tmp_path / REPO / "tiny-Q8_0.gguf").write_bytes(b"mine")
    assert weights_id(LM(f"local/{REPO}/tiny-Q8_0.gguf")) == sha256(b"mine").hexdigest()
    assert not hub.requests


def test_a_missing_file_in_a_folder_is_not_looked_up_on_the_hub(hub: HubServer) -> None:
    for name in (
        "models/tiny.gguf",
        "./a/b/tiny.gguf",
        "team/a--b/tiny.gguf",
        "/a/b/tiny.gguf",
        "~/a/tiny.gguf",
    ):
        assert not weights_id(LM(f"local/{name}"))
    assert not hub.requests


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{REPO}/tiny-Q5.gguf", r"has no file tiny-Q5\.gguf, but these:.*tiny-Q4_K_M\.gguf"),
        (f"{REPO}/tiny*", r"2 files of team/tiny-GGUF match tiny\*: tiny-Q4_K_M\.gguf, tiny-Q8"),
        (f"{REPO}@v9/tiny-Q8_0.gguf", "has no revision v9"),
        ("team/gated/tiny-Q8_0.gguf", "gated repository: accept its terms at http.*HF_TOKEN"),
        ("team/absent/tiny.gguf", "no repository team/absent.*no file team/absent/tiny.gguf in"),
    ],
)
def test_errors_say_what_the_hub_has(hub: HubServer, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        weights_id(LM(f"local/{name}"))


def test_a_missing_package_is_named_with_the_way_to_install_it(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install 'lmpipe\[hub\]'"):
        weights_id(LM(f"local/{REPO}/tiny-Q8_0.gguf"))


async def test_the_engine_loads_the_first_part(hub: HubServer) -> None:
    paths: list[Path] = []

    def open_engine(path: Path, *, context: int) -> FakeEngine:
        paths.append(path)
        return FakeEngine()

    from lmpipe.lm.embedded.provider import LocalProvider

    provider = LocalProvider(open_engine=open_engine)
    await provider.complete(make_request(LM(f"local/{REPO}/split*"), "hello"))
    await provider.aclose()
    assert [path.name for path in paths] == [PARTS[0]]
    assert (paths[0].parent / PARTS[1]).read_bytes() == LARGE


async def test_a_call_downloads_outside_the_event_loop(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    threads: list[str] = []

    def fetch(name: HubName) -> Path:
        threads.append(threading.current_thread().name)
        raise ConfigError("seen")

    monkeypatch.setattr("lmpipe.lm.embedded.provider.hub_weights", fetch)
    request = make_request(LM(f"local/{REPO}/tiny-Q8_0.gguf"), "hello")
    with pytest.raises(ConfigError, match="seen"):
        await Runtime().acomplete(request)
    assert threads != [threading.current_thread().name]


def test_the_settings_of_the_environment_apply(hub: HubServer, tmp_path: Path) -> None:
    script = (
        "from lmpipe.lm.lm import LM; from lmpipe.lm.embedded.provider import weights_id;"
        f"print(weights_id(LM('local/{REPO}/*q8_0.gguf')))"
    )
    elsewhere = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **elsewhere},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == sha256(LARGE).hexdigest()
    assert (tmp_path / "home" / "hub" / "models--team--tiny-GGUF").is_dir()


NAMES = st.from_regex(r"[A-Za-z0-9]{1,4}[.-]?[A-Za-z0-9_]{1,4}", fullmatch=True)


@given(owner=NAMES, repo=NAMES, file=NAMES, revision=st.none() | NAMES)
def test_names_are_read_back(owner: str, repo: str, file: str, revision: str | None) -> None:
    at = f"@{revision}" if revision else ""
    expected = HubName(f"{owner}/{repo}", f"{file}.gguf", revision)
    assert HubName.parse(f"{owner}/{repo}{at}/{file}.gguf") == expected


@given(st.text())
def test_any_text_is_a_name_or_none(text: str) -> None:
    name = HubName.parse(text)
    assert name is None or text.startswith(name.repo.partition("/")[0])
