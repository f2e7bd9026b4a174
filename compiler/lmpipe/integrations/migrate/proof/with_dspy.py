"""Run programs of DSPy against a recording stub: `python -m … FILE OUT [FILE OUT …]`."""

from __future__ import annotations

import asyncio
import enum
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback
from pydantic_core import to_jsonable_python

from lmpipe.foundation.exact_json import dump_json
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
from lmpipe.signatures.field_types.media import Image

AGENTS = (dspy.ReAct, dspy.CodeAct, dspy.ProgramOfThought)
ATTEMPTS = (dspy.BestOfN, dspy.Refine)

_signature: ContextVar[Any] = ContextVar("signature", default=None)
_calls: list[Any] = []


class StubLM(dspy.LM):  # type: ignore[misc]
    """Replies with a value of each output's type, in the form of the chat adapter."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__("openai/stub", cache=False)

    def __call__(self, *_: Any, **__: Any) -> Any:
        _calls.append(self)
        if len(_calls) > MOST_CALLS:
            raise TooManyCalls
        signature = _signature.get()
        if signature is None:
            return ["some text"]
        values = _outputs(signature)
        return [
            "\n\n".join(f"[[ ## {name} ## ]]\n{_spelled(value)}" for name, value in values.items())
        ]

    async def acall(self, *args: Any, **options: Any) -> Any:
        """Reply like a sync call."""
        return self(*args, **options)


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else dump_json(value).decode()


def _outputs(signature: Any) -> dict[str, Any]:
    found = {}
    for name, info in signature.output_fields.items():
        value = sample(declared_type(info), name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, enum.Enum):
            # DSPy reads a member by its name, or by its value if that is a text.
            value = value if isinstance(value, str) else info.annotation(value).name
        found[name] = value
    return found


class _Listener(BaseCallback):  # type: ignore[misc]
    """Notes each use of a predictor, and tells the stub its signature."""

    def __init__(self, uses: list[tuple[Any, dict[str, Any]]]) -> None:
        self._uses = uses

    def on_module_start(self, call_id: str, instance: Any, inputs: Mapping[str, Any]) -> None:
        if isinstance(instance, dspy.Predict):
            # As they are now: the program may change its lists later.
            self._uses.append((instance, _all_plain(inputs["kwargs"])))
            _signature.set(instance.signature)


def record(path: Path) -> dict[str, Any]:
    """Run each program of a file once, and return what it asks."""
    uses: list[tuple[Any, dict[str, Any]]] = []
    dspy.disable_logging()
    dspy.LM = StubLM
    for kind in AGENTS:
        _record_whole(kind, uses)
    for attempts in ATTEMPTS:
        attempts.forward = lambda self, **inputs: self.module(**inputs)
    for optimizer in _all_subclasses(dspy.teleprompt.Teleprompter):
        if "compile" in vars(optimizer):
            optimizer.compile = _compile
    dspy.Evaluate.__call__ = lambda *_, **__: SimpleNamespace(score=0.0, results=[])
    names = run_file(path)
    framework = Framework(dspy.Module, dspy.Example, lambda example: dict(example.inputs().items()))
    stub, listener = StubLM(), _Listener(uses)

    def ask(make: Callable[[], Any]) -> list[Asked]:
        _calls.clear()
        uses.clear()
        return _run(make(), names, framework, uses)

    with dspy.context(lm=stub, adapter=dspy.ChatAdapter(), callbacks=[listener]):
        return record_programs(programs_in(names, framework), ask)


def _compile(self: Any, student: Any = None, *_: Any, **__: Any) -> Any:
    return student


def _all_subclasses(kind: Any) -> list[Any]:
    found: list[Any] = []
    for child in kind.__subclasses__():
        found += [child, *_all_subclasses(child)]
    return found


def _record_whole(kind: Any, uses: list[tuple[Any, dict[str, Any]]]) -> None:
    def forward(self: Any, **inputs: Any) -> Any:
        uses.append((self, _all_plain(inputs)))
        return dspy.Prediction(**_outputs(self.signature), trajectory={})

    async def aforward(self: Any, **inputs: Any) -> Any:
        return forward(self, **inputs)

    kind.forward, kind.aforward = forward, aforward


def _run(
    program: Any,
    names: Mapping[str, Any],
    framework: Framework,
    uses: list[tuple[Any, dict[str, Any]]],
) -> list[Asked]:
    inner = program
    while isinstance(inner, ATTEMPTS):
        inner = inner.module
    is_async = not hasattr(type(inner), "forward")
    signature = getattr(inner, "signature", None)
    if isinstance(inner, dspy.ChainOfThought):
        signature = inner.predict.signature
    if signature is not None:
        declared = {name: declared_type(info) for name, info in signature.input_fields.items()}
    else:
        declared = parameters_of(type(inner).aforward if is_async else type(inner).forward)
    inputs = fitting_inputs(declared, names, framework) or sample_arguments(declared, _medium)
    if is_async:
        asyncio.run(program.acall(**inputs))
    else:
        program(**inputs)
    return _asked(program, uses)


def _medium(annotation: Any) -> Any:
    if annotation is dspy.Image:
        return dspy.Image(PICTURE)
    return dspy.History(messages=[]) if annotation is dspy.History else None


def _asked(program: Any, uses: list[tuple[Any, dict[str, Any]]]) -> list[Asked]:
    found = []
    for path, part in _parts(program).items():
        given = [inputs for used, inputs in uses if used is part]
        if not given:
            continue
        signature = part.signature
        whole = isinstance(part, AGENTS)
        tools = getattr(part, "tools", {}) if whole else {}
        found.append(
            Asked(
                path,
                _instruction(signature),
                _fields(signature.input_fields),
                _fields(signature.output_fields),
                kind=type(part).__name__ if whole else "",
                demos=[] if whole else [to_jsonable_python(dict(demo)) for demo in part.demos],
                tools=sorted(set(tools) - {"finish"}) if isinstance(tools, dict) else [],
                given=[
                    {
                        name: _plain(inputs[name])
                        for name in signature.input_fields
                        if name in inputs
                    }
                    for inputs in given
                ],
            )
        )
    return found


def _parts(program: Any) -> dict[str, Any]:
    """Find predictors and agents by path, as lmpipe writes it."""
    found, wholes, attempts = {}, [], []
    for name, part in program.named_sub_modules():
        path = name.removeprefix("self").lstrip(".")
        if isinstance(part, ATTEMPTS):
            attempts.append(path)
        if isinstance(part, AGENTS):
            wholes.append(path)
            found[path] = part
        elif isinstance(part, dspy.Predict) and not any(
            not at or path.startswith(f"{at}.") for at in wholes
        ):
            found[path.removesuffix("predict").rstrip(".")] = part
    return {_path(path, attempts): part for path, part in found.items()}


def _path(path: str, attempts: list[str]) -> str:
    for at in attempts:
        prefix = f"{at}.module" if at else "module"
        if path == prefix or path.startswith(f"{prefix}."):
            path = prefix.removesuffix("module") + "program" + path.removeprefix(prefix)
    return path_text(path) or "self"


def _instruction(signature: Any) -> str:
    """Return an instruction; empty if it was made of the names of the fields."""
    text: str = signature.instructions
    made = text.startswith("Given the fields `") and text.endswith("`.")
    return "" if made or text == "Produce the fields." else text


def _fields(declared: Mapping[str, Any]) -> dict[str, Field]:
    found = {}
    for name, info in declared.items():
        desc = (info.json_schema_extra or {}).get("desc", "")
        written = "" if desc == f"${{{name}}}" else desc
        if name != "reasoning":
            found[name] = Field(type_text(info.annotation, info.metadata), written)
    return found


def _all_plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in inputs.items()}


def _plain(value: Any) -> Any:
    """Write an input as JSON, images and histories as lmpipe writes them."""
    if isinstance(value, dspy.Image):
        return Image.of(value.url).to_json()
    if isinstance(value, dspy.History):
        return {"turns": to_jsonable_python(value.messages)}
    return to_jsonable_python(value)


if __name__ == "__main__":
    record_files(record, sys.argv[1:])
