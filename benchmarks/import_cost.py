"""The cost of imports: seconds and memory in alternating fresh processes."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from plan import SideName
from processes import HERE, Sides

_PROBE = """
import sys, time
start = time.perf_counter()
{code}
seconds = time.perf_counter() - start
modules = len(sys.modules)
sys.path.insert(0, {sides!r})
from peak import peak_mb
print(seconds, peak_mb(), modules)
"""
_LMPIPE_READY = """
import lmpipe
class Answer(lmpipe.Signature):
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()
lmpipe.ChainOfThought(Answer)
"""
_PYDANTIC_READY = """
import pydantic
class Answer(pydantic.BaseModel):
    question: str
    answer: str
"""
_DSPY_READY = """
import dspy
class Answer(dspy.Signature):
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()
dspy.ChainOfThought(Answer)
"""


@dataclass(frozen=True)
class Subject:
    """A piece of code to measure."""

    title: str
    side: SideName
    code: str


SUBJECTS: Mapping[str, Subject] = {
    "nothing": Subject("nothing", "lmpipe", "pass"),
    "pydantic": Subject("import pydantic", "lmpipe", "import pydantic"),
    "pydantic-ready": Subject("pydantic, a BaseModel declared", "lmpipe", _PYDANTIC_READY),
    "lmpipe": Subject("import lmpipe", "lmpipe", "import lmpipe"),
    "lmpipe-ready": Subject("lmpipe, a ChainOfThought declared", "lmpipe", _LMPIPE_READY),
    "dspy": Subject("import dspy", "dspy", "import dspy"),
    "dspy-ready": Subject("dspy, a ChainOfThought declared", "dspy", _DSPY_READY),
}


@dataclass(frozen=True)
class ImportCost:
    """The cost of one subject, as medians.

    Args:
        milliseconds: The time of the import.
        megabytes: The peak memory of the process after it, including Python itself.
        modules: The number of loaded modules after it.
    """

    milliseconds: float
    megabytes: float
    modules: int


def measure_imports(sides: Sides, rounds: int) -> dict[str, ImportCost]:
    """Measure every subject in turn for a number of rounds, after one for warming up."""
    names = [name for name, subject in SUBJECTS.items() if subject.side in sides.pythons]
    runs: dict[str, list[tuple[float, float, int]]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names:
            run = _probe(sides, SUBJECTS[name])
            if number:  # the first one also compiled to bytecode
                runs[name].append(run)
    return {
        name: ImportCost(
            1000 * statistics.median(run[0] for run in rows),
            statistics.median(run[1] for run in rows),
            rows[0][2],
        )
        for name, rows in runs.items()
    }


def _probe(sides: Sides, subject: Subject) -> tuple[float, float, int]:
    code = _PROBE.format(code=subject.code, sides=str(HERE / "sides"))
    done = subprocess.run(
        [str(sides.pythons[subject.side]), "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=sides.environment(subject.side),
    )
    seconds, megabytes, modules = done.stdout.split()
    return float(seconds), float(megabytes), int(modules)
