"""The addresses of programs: one answer, a stream, a batch, and what there is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from lmpipe.serve.deployment import Programs
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.requests import (
    answer_headers,
    choose_run,
    find_deployment,
    json_response,
    read_json,
)
from lmpipe.serve.running import RunLimits, Slots, run


class ProgramEndpoints:
    """Answers requests for programs."""

    def __init__(self, programs: Programs, options: ServeOptions, slots: Slots) -> None:
        self._programs, self._options, self._slots = programs, options, slots

    async def answer(self, request: Request) -> Response:
        """Run a program once."""
        deployment = find_deployment(self._programs, request.path_params["name"])
        served = choose_run(deployment, request)
        limits = RunLimits.of(request.headers, self._options)
        inputs = served.interface.read(await read_json(request))
        with self._slots.take():
            answer = await run(served, inputs, limits)
        headers = answer_headers(served, answer)
        return json_response(served.interface.write(answer.result), headers=headers)

    async def list_programs(self, request: Request) -> Response:
        """List the programs."""
        listed = [
            {"name": item.name, "about": item.interface.about, "runs": item.describe()}
            for item in self._programs
        ]
        return json_response({"programs": listed})

    async def describe(self, request: Request) -> Response:
        """Describe one program: its runs, and the schemas of its inputs and outputs."""
        item = find_deployment(self._programs, request.path_params["name"])
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
