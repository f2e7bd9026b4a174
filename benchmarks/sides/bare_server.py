"""A bare server of a program: the same program, called by a handler of FastAPI or Starlette.

    python bare_server.py PROGRAM.py RUN (fastapi | starlette)

Its first line of output is its address. It reads JSON, calls the program and writes JSON: without
limits, keys, ids, problem details or a log.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import uvicorn

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe


def fastapi_app(program: Any) -> Any:
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Inputs(BaseModel):
        question: str

    class Outputs(BaseModel):
        reasoning: str
        answer: str

    app = FastAPI()

    async def answer(inputs: Inputs) -> Any:
        result = await program.acall(question=inputs.question)
        return Outputs(reasoning=result.reasoning, answer=result.answer)

    # Annotations of names inside of a function cannot be read from text.
    answer.__annotations__ = {"inputs": Inputs, "return": Outputs}
    app.post("/answer")(answer)
    return app


def starlette_app(program: Any) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def answer(request: Request) -> JSONResponse:
        result = await program.acall(**await request.json())
        return JSONResponse(result.to_dict())

    return Starlette(routes=[Route("/answer", answer, methods=["POST"])])


def main() -> None:
    file, run, kind = sys.argv[1:]
    recipe = load_recipe(file)
    lmpipe.configure(lm=recipe.student, cache=False)
    app = {"fastapi": fastapi_app, "starlette": starlette_app}[kind](
        lmpipe.load(run, recipe.program)
    )
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/answer", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
