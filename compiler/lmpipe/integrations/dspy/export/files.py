"""`export_to_dspy`: a program's learned state as files of DSPy, compared with what it asks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy
from pydantic import TypeAdapter

from lmpipe.errors import ArtifactError, ExportError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.exact_json import dump_json, load_json
from lmpipe.foundation.storing import storing
from lmpipe.integrations.dspy.adapters import configured_adapter
from lmpipe.integrations.dspy.export.ask_module import RecordingLM, ask
from lmpipe.integrations.dspy.export.module_source import STATE, ModuleSource
from lmpipe.integrations.dspy.predictor import typed_inputs
from lmpipe.integrations.dspy.program import DSPyProgram
from lmpipe.integrations.dspy.signatures import as_json, spec_of
from lmpipe.integrations.dspy.states import save_dspy_state, write_dspy_state
from lmpipe.integrations.export.document import sent_turns
from lmpipe.integrations.export.parity import (
    Parity,
    check_reading,
    compare_messages,
    first_difference,
    place_of,
)
from lmpipe.integrations.export.recorded_calls import RecordedCall
from lmpipe.integrations.export.write_files import Exported
from lmpipe.lm.read_messages import read_messages
from lmpipe.lm.request import Request
from lmpipe.modules.module import Module
from lmpipe.signatures.signature_spec import DIRECTION

MODULE = "dspy_program.py"
_MARK = re.compile(rb', \\+"%s\\+": \\+"(?:input|output)\\+"' % DIRECTION.encode())
_ASK = Path(__file__).parent / "ask_module.py"


def export_to_dspy(
    program: Module, folder: Path, *, calls: Sequence[RecordedCall] | None
) -> Exported:
    """Write a DSPy state of a program, for DSPy's `module.load`.

    The state of a program from `from_dspy` is for its own module, which then asks the same bytes.
    A program of lmpipe gets a module beside it, with the same signatures, demonstrations and
    settings by path; DSPy's adapter writes its prompts, so they have another form.

    Args:
        program: the program, bound to what was learned.
        folder: where the files are written.
        calls: those of the program on its validation examples; None compares nothing.

    Raises:
        ExportError: if the program, a predictor's state or a type has no counterpart in DSPy, or
            if what DSPy asks or reads on the examples differs.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    export = _export_module if isinstance(program, DSPyProgram) else _export_program
    try:
        exported = export(program, folder, calls)
    except ArtifactError as error:
        raise ExportError(f"the program cannot be taken to DSPy: {error}") from error
    called = {call.predictor for call in calls or ()}
    uncalled = () if calls is None else tuple(p for p in program.predictors() if p not in called)
    return Exported(exported.files, exported.parity, uncalled, exported.compared)


def _export_module(program: Any, folder: Path, calls: Sequence[RecordedCall] | None) -> Exported:
    """Write the state of a module of DSPy, and compare the module with it."""
    file = folder / STATE
    save_dspy_state(program.state(), program.module, file)
    if calls is None:
        return Exported((file,), None)
    loaded = program.module.deepcopy()
    loaded.load(file)
    predictors = dict(loaded.named_predictors())
    for path, part in program.parts.items():
        _check_settings(path, part.learned().config, predictors[path].config)
    counts = Counter[str]()
    for call in calls:
        counts.update(_compare_call(predictors[call.predictor], call))
    return Exported((file,), Parity(len(calls), **counts))


def _check_settings(path: str, learned: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
    """Refuse decoding settings that were learned: DSPy's files do not have them."""
    if dict(learned) != dict(declared):
        raise ExportError(
            f"{path}: it was compiled to run with {dict(learned)}, which DSPy's files have no "
            f"place for: give these settings to the module's dspy.Predict, which has "
            f"{dict(declared)}"
        )


def _compare_call(predictor: dspy.Predict, call: RecordedCall) -> list[str]:
    """Compare what a loaded predictor sends and reads with the call under lmpipe.

    Returns:
        How each reply is counted.
    """
    texts = [reply["content"] for reply in call.replies]
    lm = RecordingLM(texts[0])
    predictor.lm, own = lm, predictor.lm
    try:
        with dspy.context(adapter=configured_adapter()):
            predictor(**typed_inputs(spec_of(predictor.signature), call.inputs))
    except (dspy.AdapterParseError, ValueError) as error:
        if not lm.asked:  # else it is the reply that cannot be read, as under lmpipe
            raise ExportError(f"{place_of(call)}: DSPy refuses the inputs: {error}") from error
    finally:
        predictor.lm = own
    turns = read_messages(lm.asked[0]["messages"])
    compare_messages(call, [sent_turns(Request(call.request.lm, turns))])
    counted: list[str] = []
    for reply, text, reading in zip(call.replies, texts, call.readings, strict=True):
        found: Any
        try:
            values = configured_adapter().parse(predictor.signature, text)
        except (dspy.AdapterParseError, ValueError) as error:
            found = {"error": str(error)}
        else:
            read = {name: as_json(value) for name, value in values.items()}
            found = [load_json(dump_json(read))]
        counted.append(check_reading(call, reply, reading, found))
    return counted


def _export_program(
    program: Module, folder: Path, calls: Sequence[RecordedCall] | None
) -> Exported:
    """Write a program of lmpipe as a module of DSPy with its state, and run that alone."""
    source = ModuleSource(program)
    files = (folder / STATE, folder / MODULE)
    write_dspy_state(source.module().dump_state(), files[0])
    write_file(files[1], source.text().encode())
    if calls is None:
        return Exported(files, None)
    jobs = [_job(program, source, call) for call in calls]
    results = _run(folder, jobs)
    for call, job, found in zip(calls, jobs, results, strict=True):
        predictor = source.parts[call.predictor].predictor
        wanted = _without_marks(ask(predictor, job["inputs"], job["outputs"]))
        if found != wanted:
            difference = first_difference(wanted, found)
            raise ExportError(f"{place_of(call)}: DSPy asks or reads otherwise: {difference}")
    compared = "the same in DSPy as its signatures, demonstrations and values here"
    unread = sum(found["read"] is None for found in results)
    parity = Parity(len(calls), len(calls) - unread, refused=unread)
    return Exported(files, parity, compared=compared)


def _without_marks(result: Any) -> Any:
    """Drop the direction of lmpipe's fields, which pydantic adds to schemas of recursive models."""
    return load_json(_MARK.sub(b"", dump_json(result)))


def _job(program: Module, source: ModuleSource, call: RecordedCall) -> dict[str, Any]:
    """A call for `ask`, whose values are JSON as pydantic alone writes it."""
    fields = {field.name: field for field in program.predictors()[call.predictor].spec.fields}
    inputs, outputs = (
        {
            name: TypeAdapter(fields[name].annotation).dump_python(
                fields[name].typed(value), mode="json", by_alias=True
            )
            for name, value in values.items()
        }
        for values in (call.inputs, call.outputs)
    )
    return {"path": source.paths[call.predictor], "inputs": inputs, "outputs": outputs}


def _run(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Run the exported module in a process of its own."""
    done = subprocess.run(  # noqa: S603 - the module that was just exported
        [sys.executable, "-B", "-P", str(_ASK), str(folder.resolve())],
        input=dump_json(list(jobs)),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        log = done.stderr.decode(errors="replace").strip()
        raise ExportError(f"the exported module {folder / MODULE} does not run:\n{log[-2000:]}")
    results: list[Any] = load_json(done.stdout)
    return results
