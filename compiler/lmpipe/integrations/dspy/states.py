"""What was learned, as a DSPy module and as DSPy's saved states, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy
import orjson
import pydantic

from lmpipe.errors import ArtifactError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.exact_json import load_json
from lmpipe.integrations.dspy.demos import demos_of
from lmpipe.integrations.dspy.lms import dspy_model
from lmpipe.integrations.dspy.nearest import NearestPredict
from lmpipe.integrations.dspy.predictor import DSPyPredictor
from lmpipe.integrations.dspy.program import DSPyProgram, from_dspy
from lmpipe.integrations.dspy.signatures import description, without_placeholder
from lmpipe.integrations.dspy.subclasses import subclass_with
from lmpipe.modules.binding import check_fits
from lmpipe.state.program_state import PredictorState, ProgramState

# The settings of a saved LM that a state of lmpipe has too.
_DECODING = ("temperature", "max_tokens", "max_completion_tokens")


def to_dspy(state: ProgramState, module: dspy.Module) -> dspy.Module:
    """Return a copy of a DSPy module that has learned a state; the module does not change.

    It sends what the program sends under lmpipe, with DSPy's LM. Where demonstrations are chosen
    for each call, its predictors need lmpipe to choose them, and DSPy cannot save them.

    Args:
        state: what was learned, such as `run.state`.
        module: the module that was compiled.

    Raises:
        ArtifactError: if the state was learned for other predictors or signatures, or holds what
            DSPy has no place for: an ensemble, or a LoRA adapter.
    """
    program = from_dspy(module)
    _check(program, state)
    made: dspy.Module = module.deepcopy()
    for path, predictor in made.named_predictors():
        learned = program.parts[path].with_state(state[path], path).learned()
        predictor.signature, predictor.demos = learned.signature, list(learned.demos)
        predictor.config = dict(learned.config)
        if (model := state[path].lm) is not None:
            predictor.lm = dspy.LM(dspy_model(model))
        if state[path].retrieval is not None:
            kind: Any = type(predictor)
            predictor.__class__ = subclass_with(NearestPredict, kind)
            vars(predictor)["_lmpipe_learned"] = learned
    return made


def learned_in(module: dspy.Module, program: DSPyProgram) -> ProgramState:
    """Return what a copy of a program's module has learned, as DSPy's optimizers return one.

    Raises:
        ArtifactError: if it has other predictors, or predictors of other signatures.
    """
    found = dict(module.named_predictors()) if isinstance(module, dspy.Module) else {}
    learned = {path: DSPyPredictor(predictor, path) for path, predictor in found.items()}
    state = ProgramState(
        predictors={path: _compared(item, program) for path, item in learned.items()}
    )
    check_fits({path: item.spec for path, item in program.parts.items()}, state)
    return state


def _compared(found: DSPyPredictor, program: DSPyProgram) -> PredictorState:
    """Return a predictor's state, with what its fields' descriptions differ in."""
    state = found.state_of()
    if found.path not in program.parts:
        return state
    declared = program.parts[found.path].declared.signature.fields
    changed = {
        name: said
        for name, field in found.declared.signature.fields.items()
        if name in declared
        and (said := description(name, field)) != description(name, declared[name])
    }
    return state.replace(descriptions=changed)


def _check(program: DSPyProgram, state: ProgramState) -> None:
    problem = ""
    if state.reduce is not None:
        problem = "it is an ensemble's: take a member's state, or give dspy.Ensemble the modules"
    elif held := [path for path, one in state.predictors.items() if one.adapter is not None]:
        problem = f"{', '.join(held)} has a LoRA adapter: serve it, and name it in dspy.LM(…)"
    elif held := [path for path, one in state.predictors.items() if one.layout != "chat"]:
        problem = f"{', '.join(held)} has another layout than `chat`, which is DSPy's own adapter"
    if problem:
        raise ArtifactError(f"this state cannot be taken to DSPy: {problem}")
    check_fits({path: item.spec for path, item in program.parts.items()}, state)


def save_dspy_state(state: ProgramState, module: dspy.Module, path: str | Path) -> None:
    """Write a state as DSPy's `module.save("….json")` does, for its `module.load`.

    Args:
        state: what was learned.
        module: the module that was compiled.
        path: the file, whose name ends in `.json`.

    Raises:
        ArtifactError: if `to_dspy` refuses the state, its demonstrations are chosen for each call,
            or the file has another name.
        StorageError: if the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".json":
        raise ArtifactError(f"{path}: DSPy loads states from files whose names end in .json")
    found = [name for name, one in state.predictors.items() if one.retrieval is not None]
    if found:
        raise ArtifactError(
            f"{', '.join(found)} chooses demonstrations for each call, which DSPy's files have no "
            "place for: compile with fixed ones, as RandomSearch(retrieval_share=0) does"
        )
    write_dspy_state(to_dspy(state, module).dump_state(), path)


def write_dspy_state(dumped: Mapping[str, Any], path: Path) -> None:
    """Write what a module's `dump_state` returns as its `save` does.

    Raises:
        StorageError: if the file cannot be written.
    """
    from dspy.utils.saving import get_dependency_versions

    saved = {**dumped, "metadata": {"dependency_versions": get_dependency_versions()}}
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_file(path, orjson.dumps(saved, option=option))


def load_dspy_state(path: str | Path, module: dspy.Module) -> ProgramState:
    """Read a state that DSPy has saved as JSON, for `from_dspy(module).bind(state)`.

    DSPy's files do not have the names of fields. They are checked by what the file has: the number
    of fields and their prefixes, the names of the demonstrations' fields, and the types of their
    values.

    Args:
        path: a file that `module.save("….json")` wrote.
        module: the module that it was saved from, without what it had learned.

    Raises:
        ArtifactError: if the file cannot be read, or is another module's; the message shows what
            differs.
    """
    where = str(path)
    try:
        saved = load_json(Path(path).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ArtifactError(f"{where} cannot be read as a state of DSPy: {error}") from error
    if not isinstance(saved, dict):
        raise ArtifactError(f"{where} is not a state of DSPy: it is {type(saved).__name__}")
    if isinstance(module, dspy.Predict) and "signature" in saved:
        saved = {"self": saved}  # DSPy writes a predictor that is a whole program without its name
    parts = from_dspy(module).parts
    names = [name for name in saved if name != "metadata"]
    problems = [f"  {name}: in the module, not in the file" for name in parts if name not in saved]
    problems += [f"  {name}: in the file, not in the module" for name in names if name not in parts]
    for name, part in parts.items():
        if name in saved:
            problems += [f"  {name}: {problem}" for problem in _problems(saved[name], part)]
    if problems:
        raise ArtifactError(
            f"{where} does not fit this module:\n"
            + "\n".join(problems)
            + "\n  load it with the module that it was saved from"
        )
    return ProgramState(
        predictors={name: _state(saved[name], part) for name, part in parts.items()}
    )


def _problems(saved: Any, part: DSPyPredictor) -> list[str]:
    """Say what differs between a predictor and its saved state."""
    fields = part.declared.signature.fields
    try:
        stored = saved["signature"]["fields"]
        prefixes = [field["prefix"] for field in stored]
        demos = [dict(demo) for demo in saved["demos"]]
        texts = [saved["signature"]["instructions"], *(field["description"] for field in stored)]
        lm = dict(saved.get("lm") or {})
    except (AttributeError, KeyError, TypeError, ValueError):
        return ["not a saved predictor"]
    if not all(isinstance(text, str) for text in (*texts, lm.get("model") or "")):
        return ["its instructions, descriptions or LM's name are not texts"]
    if saved.get("fields"):
        return ["it has decision thresholds, which lmpipe does not run"]
    if len(prefixes) != len(fields):
        return [f"{len(prefixes)} fields in the file, {len(fields)} in the signature {part.spec}"]
    problems = [
        f"field {place}: {prefix!r} in the file, {name!r} in the signature"
        for place, (prefix, (name, field)) in enumerate(
            zip(prefixes, fields.items(), strict=True), start=1
        )
        if prefix != field.json_schema_extra["prefix"]
    ]
    return problems or _demo_problems(demos, part)


def _demo_problems(demos: Sequence[Mapping[str, Any]], part: DSPyPredictor) -> list[str]:
    """Say which demonstrations have no field of the signature, or values of other types."""
    problems = []
    for place, demo in enumerate(demos, start=1):
        known = [field for field in part.spec.fields if field.name in demo]
        if not known:
            problems.append(f"demonstration {place} has no field of the signature {part.spec}")
        for field in known:
            value = demo[field.name]
            if value is None or isinstance(value, str):
                continue  # left out, or a text that DSPy shows as it is
            try:
                field.typed(value)
            except pydantic.ValidationError as error:
                said = error.errors()[0]["msg"]
                problems.append(
                    f"demonstration {place}: {field.name!r} is not {field.type_name}: {said}"
                )
    return problems


def _state(saved: Mapping[str, Any], part: DSPyPredictor) -> PredictorState:
    fields = part.declared.signature.fields
    changed = {
        name: said
        for (name, field), stored in zip(fields.items(), saved["signature"]["fields"], strict=True)
        if (said := without_placeholder(name, stored["description"])) != description(name, field)
    }
    lm = saved.get("lm") or {}
    decoding = {name: lm[name] for name in _DECODING if lm.get(name) is not None}
    declared = part.state_of()
    return declared.replace(
        instruction=saved["signature"]["instructions"],
        demos=demos_of(part.spec, saved["demos"]),
        descriptions=changed,
        lm=lm.get("model"),
        decoding={**declared.decoding, **decoding},
    )
