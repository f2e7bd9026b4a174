"""Run programs of lmpipe against a recording stub: `python -m … FILE OUT [FILE OUT …]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmpipe
from lmpipe.integrations.migrate.proof.asked import Asked, Field, path_text, type_text
from lmpipe.integrations.migrate.proof.namespace import (
    Framework,
    fitting_inputs,
    parameters_of,
    programs_in,
    run_file,
)
from lmpipe.integrations.migrate.proof.samples import declared_type, sample, sample_arguments
from lmpipe.integrations.migrate.proof.session import (
    MOST_CALLS,
    PICTURE,
    TooManyCalls,
    record_files,
    record_programs,
)
from lmpipe.lm.concurrency import loop
from lmpipe.lm.python_lm import PythonLM
from lmpipe.lm.request import Reply, Request
from lmpipe.modules.binding import walk
from lmpipe.modules.module import Module, run_traced
from lmpipe.settings import make_runtime
from lmpipe.signatures.signature import spec_of
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec
from lmpipe.state.program_state import to_plain
from lmpipe.state.trace import Trace

# Modules that are compared as a whole: what they ask inside differs between the frameworks.
AGENTS = (lmpipe.ReAct, lmpipe.CodeAct, lmpipe.ProgramOfThought)
ATTEMPTS = (lmpipe.BestOfN, lmpipe.Refine)


class StubLM(PythonLM):
    """Replies with a value of each output's type, and counts its calls."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__("stub/stub")
        object.__setattr__(self, "predictors", [])
        object.__setattr__(self, "calls", [])

    predictors: list[lmpipe.Predict[..., Any]]
    calls: list[Request]

    @property
    def replier(self) -> object:
        return self.calls

    async def complete(self, request: Request) -> Reply:
        """Reply to the predictor whose system turn the request has."""
        self.calls.append(request)
        if len(self.calls) > MOST_CALLS:
            raise TooManyCalls
        system = request.messages[0].text
        for predictor in self.predictors:
            if system == _system_turn(predictor):
                return Reply(predictor.reply(_outputs(predictor.spec)))
        return Reply("some text")


def _system_turn(predictor: lmpipe.Predict[..., Any]) -> str:
    """The system turn of a predictor, which is the same for all inputs."""
    fields = predictor.spec.inputs
    inputs = sample_arguments({item.name: declared_type(item.info) for item in fields}, _medium)
    shown = {item.name: item.dump(inputs[item.name]) for item in fields}
    return predictor.conversation(shown)[0].text


def _outputs(spec: SignatureSpec) -> dict[str, Any]:
    return {item.name: sample(declared_type(item.info), item.name) for item in spec.outputs}


def _medium(annotation: Any) -> Any:
    if annotation is lmpipe.Image:
        return lmpipe.Image.of(PICTURE)
    return lmpipe.History() if annotation is lmpipe.History else None


def record(path: Path) -> dict[str, Any]:
    """Run each program of a file once, and return what it asks."""
    stub = StubLM()
    changed: Any = lmpipe
    changed.LM = lambda *_, **__: stub
    changed.compile = lambda recipe, **_: SimpleNamespace(
        program=recipe.program, state=recipe.program.state(), scores={}, path=Path()
    )
    changed.evaluate = lambda *_, **__: SimpleNamespace(score=0.0, rows=(), values=())
    uses: list[tuple[Module, dict[str, Any]]] = []
    for kind in AGENTS:
        _record_whole(kind, uses)
    for attempts in ATTEMPTS:
        _attempt_once(attempts)
    names = run_file(path)
    framework = Framework(Module, lmpipe.Example, lambda example: example.inputs)

    def ask(make: Callable[[], Any]) -> list[Asked]:
        stub.calls.clear()
        uses.clear()
        program = make()
        parts = program.predictors().values()
        stub.predictors[:] = [part for part in parts if isinstance(part, lmpipe.Predict)]
        return _run(program, names, framework, uses)

    with lmpipe.using(lm=stub, runtime=make_runtime(cache=False)):
        return record_programs(programs_in(names, framework), ask)


def _record_whole(kind: Any, uses: list[tuple[Module, dict[str, Any]]]) -> None:
    def forward(self: Any, **inputs: Any) -> Any:
        signature = self.signature
        spec = spec_of(signature)
        # As they are now: the program may change its lists later.
        uses.append((self, {item.name: item.dump(inputs[item.name]) for item in spec.inputs}))
        return signature.model_validate({**inputs, **_outputs(spec)})

    kind.forward = forward


def _attempt_once(kind: Any) -> None:
    async def forward(self: Any, **inputs: Any) -> Any:
        return await self.program.acall(**inputs)

    kind.forward = forward


def _run(
    program: Module,
    names: Mapping[str, Any],
    framework: Framework,
    uses: list[tuple[Module, dict[str, Any]]],
) -> list[Asked]:
    inner: Any = program
    while isinstance(inner, ATTEMPTS):
        inner = inner.program
    if isinstance(inner, (lmpipe.Predict, *AGENTS)):
        fields = spec_of(inner.signature).inputs
        declared = {item.name: declared_type(item.info) for item in fields}
    else:
        declared = parameters_of(type(inner).forward)
    inputs = fitting_inputs(declared, names, framework) or sample_arguments(declared, _medium)
    program = program.bind(program.state())  # which tells its predictors their paths
    trace = Trace()
    loop.run_sync(run_traced(program, inputs, trace))
    return [*_predictors(program, trace), *_agents(program, uses)]


def _predictors(program: Module, trace: Trace) -> list[Asked]:
    inside = [path for kind in AGENTS for path, _ in walk(program, kind)]
    found = []
    for path, predictor in program.predictors().items():
        used = trace.of(path)
        if not used or any(path == at or path.startswith(f"{at}.") or not at for at in inside):
            continue
        state, spec = predictor.state_of(), predictor.spec
        found.append(
            Asked(
                path_text(path),
                _instruction(state.instruction),
                _fields(spec.inputs),
                _fields(spec.outputs),
                demos=[{**to_plain(demo.inputs), **to_plain(demo.outputs)} for demo in state.demos],
                given=[step.inputs for step in used],
            )
        )
    return found


def _agents(program: Module, uses: list[tuple[Module, dict[str, Any]]]) -> list[Asked]:
    found = []
    agent: Any
    for kind in AGENTS:
        for path, agent in walk(program, kind):
            given = [inputs for used, inputs in uses if used is agent]
            if not given:
                continue
            spec = spec_of(agent.signature)
            found.append(
                Asked(
                    path_text(path or "self"),
                    _instruction(spec.instruction),
                    _fields(spec.inputs),
                    _fields(spec.outputs),
                    kind=kind.__name__,
                    tools=sorted(tool.name for tool in getattr(agent, "tools", ())),
                    given=given,
                )
            )
    return found


def _instruction(text: str) -> str:
    """Return an instruction; empty if it was made of the names of the fields."""
    return "" if text.startswith(("Given `", "Give `")) and text.endswith("`.") else text


def _fields(declared: tuple[FieldSpec, ...]) -> dict[str, Field]:
    return {
        item.name: Field(type_text(item.annotation, item.info.metadata), item.desc)
        for item in declared
        if item.name != "reasoning"
    }


if __name__ == "__main__":
    record_files(record, sys.argv[1:])
