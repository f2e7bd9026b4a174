from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmpipe.foundation.source_code import source_of


def loaded(file: Path, text: str) -> Any:
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of a user, as `import` leaves it."""
    module = loaded(tmp_path / "users.py", "class Named:\n    pass\n\n\ndef named(): return 1\n")
    monkeypatch.setitem(sys.modules, "users", module)
    return module


def test_classes_and_functions_have_a_source(imported: Any) -> None:
    for _ in range(2):
        assert source_of(imported.Named) == "class Named:\n    pass\n"
        assert source_of(imported.named.__code__) == "def named(): return 1\n"


def test_what_no_file_has_has_no_source() -> None:
    namespace: dict[str, Any] = {}
    exec("class Named: pass\ndef named(): pass", namespace)
    assert source_of(int) is None
    assert source_of(namespace["Named"]) is None
    assert source_of(namespace["named"].__code__) is None


def test_a_class_whose_file_changes_has_the_new_source(imported: Any) -> None:
    assert source_of(imported.Named) == "class Named:\n    pass\n"
    # Tools that reload modules may keep the class, and change it.
    Path(imported.__file__).write_text("class Named:\n    changed = True\n")
    assert source_of(imported.Named) == "class Named:\n    changed = True\n"


def test_equal_code_of_two_files_has_the_source_of_each(tmp_path: Path) -> None:
    one, other = (
        loaded(tmp_path / f"{name}.py", f"def named(): return 1  # {name}\n").named.__code__
        for name in ("one", "other")
    )
    assert one == other
    assert source_of(one) == "def named(): return 1  # one\n"
    assert source_of(other) == "def named(): return 1  # other\n"


def test_a_class_that_cannot_be_hashed_has_a_source() -> None:
    class Unhashable(type):
        __hash__: Any = None

    class Named(metaclass=Unhashable):
        pass

    with pytest.raises(TypeError):
        hash(Named)
    assert "class Named(metaclass=Unhashable):" in (source_of(Named) or "")
