"""Finding the Python that trains."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from helpers.training import fake_python

from lmpipe.errors import TrainingError
from lmpipe.foundation.python_environments import environment_folder, environment_python
from lmpipe.weights import environment
from lmpipe.weights.environment import training_environment


@pytest.fixture(autouse=True)
def _nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LMPIPE_TRAIN_PYTHON", raising=False)
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)


def test_a_named_python_comes_before_lmpipes_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = environment_python("train")
    own.parent.mkdir(parents=True)
    os.symlink(fake_python(own.parent.parent), own)
    assert training_environment().python == own
    named = fake_python(tmp_path)
    monkeypatch.setenv("LMPIPE_TRAIN_PYTHON", str(named))
    assert training_environment().python == named
    assert training_environment().versions["trl"] == "1.0"


def test_a_missing_environment_is_an_error_with_install_commands() -> None:
    with pytest.raises(TrainingError, match="no environment to train in") as caught:
        training_environment()
    folder = environment_folder("train")
    assert f"python3 -m venv {folder} && {folder}/bin/pip install" in str(caught.value)
    assert "LMPIPE_TRAIN_PYTHON" in str(caught.value)


def test_a_named_program_must_be_a_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMPIPE_TRAIN_PYTHON", str(tmp_path / "gone"))
    with pytest.raises(TrainingError, match="no such file"):
        training_environment()
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("LMPIPE_TRAIN_PYTHON", str(broken))
    with pytest.raises(TrainingError, match="does not run as a Python"):
        training_environment()


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMPIPE_TRAIN_PYTHON", str(fake_python(tmp_path)))
    monkeypatch.setenv("FAKE_LACKS", "trl,datasets,gguf")
    with pytest.raises(TrainingError, match=r"lacks trl, datasets\. Make one with .*pip install"):
        training_environment()


def test_the_extra_and_the_install_commands_agree() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extra = project["project"]["optional-dependencies"]["train"]
    assert tuple(extra) == environment.REQUIREMENTS
    assert all(f"'{requirement}'" in environment.install_lines() for requirement in extra)
