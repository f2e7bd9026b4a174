"""The address for operators: which runs answer for a program, and for what share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lmpipe.errors import InputError
from lmpipe.lm.concurrency.loop import in_thread
from lmpipe.serve.deployment import Deployment, Programs, ServedRun
from lmpipe.serve.gate import key_of
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.problems import FieldProblem, Problem, Refused
from lmpipe.serve.requests import find_deployment, headers_of, json_response, read_json
from lmpipe.serve.run_source import RunSource

log = logging.getLogger("lmpipe.serve")

_RUNS = "runs"
_FORM = 'send {"runs": [{"run": "<run folder>", "share": 1}]}'


class AdminEndpoint:
    """Swaps runs for those who have a key of an operator."""

    def __init__(
        self, programs: Programs, sources: Mapping[str, RunSource], options: ServeOptions
    ) -> None:
        self._programs, self._sources, self._options = programs, sources, options
        self._swapping = asyncio.Lock()

    async def swap(self, request: Request) -> Response:
        """Let other runs answer for a program; runs in flight go on."""
        if not self._options.administers(key_of(headers_of(request))):
            raise Refused(
                Problem(
                    403,
                    "not-an-operator",
                    "only operators may swap runs",
                    "send a key of $LMPIPE_SERVE_ADMIN_KEYS, which the server was started with",
                )
            )
        name = request.path_params["name"]
        find_deployment(self._programs, name)
        wanted = _wanted(await read_json(request))
        async with self._swapping:  # two swaps at once must not undo each other's half
            deployment = find_deployment(self._programs, name)
            try:
                runs = [await self._open(deployment, run) for run in wanted]
                swapped = Deployment(runs, list(wanted.values()))
                self._programs.swap(swapped)
            except InputError as error:
                problem = FieldProblem(_RUNS, str(error), "name finished runs of this program")
                detail = "the runs cannot be served; those from before still are"
                raise problem.refusal(409, "unfit-run", detail) from error
        described = swapped.describe()
        shares = ", ".join(f"{run['run']} ({run['share']:.0%})" for run in described)
        log.info("%s: an operator swapped in %s", name, shares)
        return json_response({"name": name, "runs": described})

    async def _open(self, deployment: Deployment, run: str) -> ServedRun:
        """Return a run that answers now, or open its folder."""
        if (found := deployment.find(run)) is not None:
            return found
        source = self._sources.get(deployment.name)
        if source is None:
            raise InputError(
                f"{deployment.name} is served from a program's file, which has no folder of runs: "
                "start the server with a run folder"
            )
        return await in_thread(source.open, run)


def _wanted(body: Any) -> dict[str, float]:
    """Return the shares by run; raise Refused if they are not of the right form."""
    listed = body.get(_RUNS) if isinstance(body, Mapping) else None
    found: dict[str, float] = {}
    for item in listed if isinstance(listed, list) else ():
        match item:
            case {"run": str(run), **rest} if rest.keys() <= {"share"}:
                share = rest.get("share", 1.0)
                if isinstance(share, int | float) and not isinstance(share, bool) and share > 0:
                    found[run] = float(share)
    if not found or not isinstance(listed, list) or len(found) < len(listed):
        detail = "is not a list of different runs, each with a share above 0"
        problem = FieldProblem(_RUNS, detail, _FORM)
        raise problem.refusal(422, "invalid-inputs", "expected the runs to serve")
    return found
