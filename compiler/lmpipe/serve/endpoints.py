"""The addresses of programs: one answer, a stream, a batch, and what there is."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lmpipe.serve.batch import Batch, rows_of
from lmpipe.serve.client_gone import while_connected
from lmpipe.serve.deployment import ServedRun
from lmpipe.serve.requests import (
    RUN_HEADER,
    UNIT_HEADER,
    answer_headers,
    choose_run,
    find_deployment,
    headers_of,
    json_response,
    read_json,
    request_id,
)
from lmpipe.serve.running import RunLimits, run
from lmpipe.serve.service import Service
from lmpipe.serve.streaming import EventStream, program_events


class ProgramEndpoints:
    """Answers requests for programs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        """Run a program once; stream its outputs to a client that accepts events."""
        deployment = find_deployment(self._service.programs, request.path_params["name"])
        served = choose_run(deployment, request)
        limits = self._service.limits(headers_of(request))
        inputs = served.interface.read(await read_json(request))
        if "text/event-stream" in headers_of(request).get("accept", ""):
            return self._streamed(request, served, inputs, limits)
        with self._service.slots.take(), while_connected(request.receive):
            answer = await run(served, inputs, limits)
        outputs = served.interface.write(answer.result)
        self._service.keep(request_id(request), served, inputs, outputs)
        return json_response(outputs, headers=answer_headers(served, answer))

    def _streamed(
        self, request: Request, served: ServedRun, inputs: dict[str, Any], limits: RunLimits
    ) -> Response:
        held = ExitStack()
        running = held.enter_context(self._service.streaming(served, inputs, limits))
        everything = request.query_params.get("events") == "all"
        events = program_events(
            served, running, self._service, request_id(request), inputs, everything=everything
        )
        return EventStream(events, held, answer_headers(served))

    async def batch(self, request: Request) -> Response:
        """Run a program on many rows."""
        service = self._service
        deployment = find_deployment(service.programs, request.path_params["name"])
        limits = service.limits(headers_of(request))
        wanted = choose_run(deployment, request) if RUN_HEADER in headers_of(request) else None
        unit = headers_of(request).get(UNIT_HEADER) or request_id(request)
        batch = Batch(deployment, wanted, unit, request_id(request), limits, service)
        rows = rows_of(await read_json(request), service.options.max_batch)
        with while_connected(request.receive):
            results = await batch.answer(rows)
        return json_response({"results": results})

    async def list_programs(self, request: Request) -> Response:
        """List the programs."""
        listed = [
            {"name": item.name, "about": item.interface.about, "runs": item.describe()}
            for item in self._service.programs
        ]
        return json_response({"programs": listed})

    async def describe(self, request: Request) -> Response:
        """Describe one program: its runs, and the schemas of its inputs and outputs."""
        item = find_deployment(self._service.programs, request.path_params["name"])
        interface = item.interface
        return json_response(
            {
                "name": item.name,
                "about": interface.about,
                "runs": item.describe(),
                "inputs": interface.input_schema().whole(),
                "outputs": interface.output_schema().whole(),
            }
        )
