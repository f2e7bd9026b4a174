"""The default weights as a base model, with a fake training environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.training import fake_python

from lmpipe.errors import TrainingError
from lmpipe.weights import base_model
from lmpipe.weights.base_model import default_base_model


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMPIPE_TRAIN_PYTHON", str(fake_python(tmp_path)))
    base_model.weights_folder().mkdir(parents=True)
    path = base_model.weights_folder() / "tiny.gguf"
    path.write_bytes(b"GGUF, version 1")
    monkeypatch.setattr(base_model, "default_weights", lambda: path)
    return path


def test_the_folder_is_made_once(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = default_base_model()
    assert (folder / "tokenizer.json").exists()
    monkeypatch.setenv("FAKE_TRAINING", "crash")
    assert default_base_model() == folder
    assert sorted(item.name for item in folder.parent.iterdir()) == [folder.name, "tiny.gguf"]


def test_a_damaged_folder_and_one_of_other_weights_are_made_again(gguf: Path) -> None:
    folder = default_base_model()
    record = (folder / "source.json").read_bytes()
    (folder / "config.json").write_text('{"damaged": true}')
    default_base_model()
    assert (folder / "config.json").read_text() == "{}"
    gguf.write_bytes(b"GGUF, version two")
    default_base_model()
    assert (folder / "source.json").read_bytes() != record


def test_a_failed_conversion_is_a_clear_error(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TRAINING", "crash")
    with pytest.raises(
        TrainingError, match="Hugging Face folder: ValueError: no such architecture"
    ):
        default_base_model()
    assert [item.name for item in gguf.parent.iterdir()] == ["tiny.gguf"]


def test_an_environment_without_gguf_gets_a_remedy(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LACKS", "gguf")
    with pytest.raises(TrainingError, match="-m pip install gguf"):
        default_base_model()


def test_a_full_disk_is_a_clear_error(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base_model, "write_file", full)
    with pytest.raises(TrainingError, match="free 600 MB"):
        default_base_model()
