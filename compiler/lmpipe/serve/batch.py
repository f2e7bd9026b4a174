"""Batches: many rows of inputs in one request, each with an answer or a problem of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.foundation.exact_json import json_fragment
from lmpipe.lm.concurrency.in_order import run_in_order
from lmpipe.serve.deployment import Deployment, ServedRun
from lmpipe.serve.problems import FieldProblem, Problem, Refused
from lmpipe.serve.running import Answer, RunLimits, run
from lmpipe.serve.service import Service

_ROWS = "rows"


@dataclass(frozen=True)
class Batch:
    """A batch of rows of one program.

    Args:
        deployment: what answers.
        wanted: the run that has to answer; None to choose one for each row.
        unit: whom the rows are for, which decides which run answers.
        id: the id of the request; that of a row has its number after it.
        limits: what the run of one row may take.
        service: a batch takes half of its free slots, so that others get in too.
    """

    deployment: Deployment
    wanted: ServedRun | None
    unit: str
    id: str
    limits: RunLimits
    service: Service

    async def answer(self, rows: list[Any]) -> list[dict[str, Any]]:
        """Run the program on all rows; results have their order.

        Raises:
            Refused: if no slot is free.
        """
        slots = self.service.slots
        count = max(1, min(len(rows), slots.free // 2))
        with slots.take(count):
            return await run_in_order(list(enumerate(rows)), count, run=self._row)

    async def _row(self, numbered: tuple[int, Any]) -> dict[str, Any]:
        number, row = numbered
        name = f"{self.id}.{number}"
        served = self.wanted or self.deployment.choose(f"{self.unit}.{number}")
        try:
            inputs = served.interface.read(row)
            answer: Answer = await run(served, inputs, self.limits)
            outputs = served.interface.write(answer.result)
            # Written here, so that an output that is not JSON fails only its own row.
            written = json_fragment(outputs)
        except Exception as error:  # noqa: BLE001 - a program may raise anything
            return {"problem": self.service.errors.problem_of(error, name).to_json(name)}
        self.service.keep(name, served, inputs, outputs)
        return {"outputs": written, "run": served.run, "calls": len(answer.charges), "id": name}


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
