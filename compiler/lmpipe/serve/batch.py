"""Batches: many rows of inputs in one request, each with an answer or a problem of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.foundation.exact_json import json_fragment
from lmpipe.lm.concurrency.in_order import run_in_order
from lmpipe.serve.deployment import Deployment, ServedRun
from lmpipe.serve.error_log import ErrorLog
from lmpipe.serve.problems import FieldProblem, Problem, Refused
from lmpipe.serve.running import Answer, RunLimits, Slots, run

_ROWS = "rows"


@dataclass(frozen=True)
class Batch:
    """A batch of rows of one program.

    Args:
        deployment: what answers.
        wanted: the run that has to answer; None to choose one for each row.
        unit: whom the rows are for, which decides which run answers.
        limits: what the run of one row may take.
        slots: a batch takes half of those that are free, so that others get in too.
    """

    deployment: Deployment
    wanted: ServedRun | None
    unit: str
    limits: RunLimits
    slots: Slots
    errors: ErrorLog

    async def answer(self, rows: list[Any]) -> list[dict[str, Any]]:
        """Run the program on all rows; results have their order.

        Raises:
            Refused: if no slot is free.
        """
        count = max(1, min(len(rows), self.slots.free // 2))
        with self.slots.take(count):
            return await run_in_order(list(enumerate(rows)), count, run=self._row)

    async def _row(self, numbered: tuple[int, Any]) -> dict[str, Any]:
        number, row = numbered
        name = f"{self.unit}.{number}"
        served = self.wanted or self.deployment.choose(name)
        try:
            answer: Answer = await run(served, served.interface.read(row), self.limits)
            # Written here, so that an output that is not JSON fails only its own row.
            outputs = json_fragment(served.interface.write(answer.result))
        except Exception as error:  # noqa: BLE001 - a program may raise anything
            return {"problem": self.errors.problem_of(error, name).to_json(name)}
        return {"outputs": outputs, "run": served.run, "calls": len(answer.charges)}


def rows_of(body: object, most: int) -> list[Any]:
    """Return the rows of a batch's body.

    Raises:
        Refused: if it is not an object with rows, or has too many of them.
    """
    rows = body.get(_ROWS) if isinstance(body, Mapping) else None
    if not isinstance(rows, list) or not rows:
        problem = FieldProblem(
            _ROWS, "is not a list of one row or more", 'send {"rows": [{…}, {…}]}, each with inputs'
        )
        raise problem.refusal(422, "invalid-inputs", "expected the rows of a batch")
    if len(rows) > most:
        raise Refused(
            Problem(
                413,
                "too-many-rows",
                f"the batch has {len(rows):,} rows, more than {most:,}",
                "send several batches, or ask the operator for more (--max-batch)",
            )
        )
    return rows
