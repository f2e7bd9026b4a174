"""Public names come from the stubs, and `import lmpipe` loads no heavy package."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lmpipe

ROOT = Path(lmpipe.__file__).parent
STUBS = sorted(ROOT.rglob("__init__.pyi"))

HEAVY = {
    "aiohttp",
    "bm25s",
    "datasets",
    "diskcache",
    "dspy",
    "gepa",
    "gguf",
    "httpx",
    "huggingface_hub",
    "jinja2",
    "json_repair",
    "litellm",
    "matplotlib",
    "numpy",
    "optuna",
    "pandas",
    "peft",
    "pyarrow",
    "ray",
    "rich",
    "scipy",
    "starlette",
    "torch",
    "transformers",
    "trl",
    "typer",
    "uvicorn",
    "vllm",
    "xllamacpp",
}


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_import_loads_no_other_package() -> None:
    assert modules_after("import lmpipe").isdisjoint({*HEAVY, "pydantic", "asyncio"})


def test_declaring_a_program_loads_no_heavy_package() -> None:
    assert modules_after("import lmpipe; lmpipe.Predict('a -> b')").isdisjoint(HEAVY)


def package_of(stub: Path) -> str:
    return ".".join(["lmpipe", *stub.parent.relative_to(ROOT).parts])


def declared_names(stub: Path) -> dict[str, tuple[str, str]]:
    """The module and the name that each public name of a stub is imported from."""
    return {
        alias.asname or alias.name: ("." * node.level + (node.module or ""), alias.name)
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("stub", STUBS, ids=package_of)
def test_the_public_names_are_those_of_the_stub(stub: Path) -> None:
    package = importlib.import_module(package_of(stub))
    assert set(package.__all__) == set(declared_names(stub))
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("stub", STUBS, ids=package_of)
def test_every_name_of_the_stub_is_what_the_stub_says(stub: Path) -> None:
    package = importlib.import_module(package_of(stub))
    for name, (place, declared) in declared_names(stub).items():
        if place.strip("."):
            home = importlib.import_module(place, package.__name__)
            assert getattr(package, name) is getattr(home, declared), name
        else:
            home = importlib.import_module(f".{declared}", package.__name__)
            assert getattr(package, name) is home, name


def test_what_users_type_is_at_the_root() -> None:
    wanted = {"split", "Trace", "Metric", "Task", "Cost", "Module", "Predict", "compile", "load"}
    assert wanted <= set(lmpipe.__all__)
    assert not {"Vectors", "Partial"} & set(lmpipe.__all__)
