"""What is learned moves between lmpipe and DSPy, and sends the same requests on both sides."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import dspy
import orjson
import pytest
from helpers.dspy_programs import BY_NAME, CASES, Case
from helpers.dspy_stub import RecordingStub, recording_stub, scripted_lm

import lmpipe
from lmpipe.errors import ArtifactError
from lmpipe.integrations.dspy import from_dspy, load_dspy_state, save_dspy_state, to_dspy
from lmpipe.lm.runtime import Runtime
from lmpipe.state.program_state import ProgramState

EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def compiled(case: Case, tmp_path: Path, **settings: Any) -> ProgramState:
    """Compile a program with an optimizer that finds demonstrations for all of its predictors."""
    recipe = lmpipe.Recipe(
        program=from_dspy(case.make(), max_calls=case.max_calls),
        train=case.data(8),
        val=case.data(4, first=10),
        metric=case.metric,
        optimizer=lmpipe.RandomSearch(candidates=4, demos=3, bootstrapped=3, **settings),
        student=scripted_lm(case.values),
        train_check=0,
        ablation=False,
    )
    return lmpipe.compile(recipe, runs=tmp_path).state


def told(state: ProgramState) -> ProgramState:
    """Change every instruction, as another optimizer would."""
    return state.update(
        {
            path: one.replace(instruction=f"{one.instruction}\nAnswer with care.")
            for path, one in state.predictors.items()
        }
    )


def ask_alone(case: Case, module: Any, stub: RecordingStub, example: Any) -> list[bytes]:
    inputs = {name: example[name] for name in example.inputs()}
    with dspy.context(lm=stub.dspy_lm()):
        asyncio.run(module.acall(**inputs)) if case.is_async else module(**inputs)
    return stub.take()


def ask_here(program: Any, stub: RecordingStub, example: Any) -> list[bytes]:
    with lmpipe.using(lm=stub.lm(), runtime=Runtime()):
        program(**{name: example[name] for name in example.inputs()})
    return stub.take()


@EACH
@pytest.mark.parametrize("share", [0.0, 1.0], ids=["fixed", "nearest"])
def test_a_state_compiled_here_asks_the_same_in_dspy(
    case: Case, share: float, tmp_path: Path
) -> None:
    module = case.make()
    state = told(compiled(case, tmp_path, retrieval_share=share))
    assert any(one.demos or one.retrieval for one in state.predictors.values())
    with recording_stub(case.values) as stub:
        here = ask_here(from_dspy(module).bind(state), stub, case.examples(20))
        assert ask_alone(case, to_dspy(state, module), stub, case.examples(20)) == here


@EACH
def test_a_state_saved_for_dspy_asks_the_same_after_it_loads_it(case: Case, tmp_path: Path) -> None:
    module, file = case.make(), tmp_path / "state.json"
    state = told(compiled(case, tmp_path, retrieval_share=0.0))
    save_dspy_state(state, module, file)
    theirs = case.make()
    theirs.load(file)
    with recording_stub(case.values) as stub:
        here = ask_here(from_dspy(module).bind(state), stub, case.examples(20))
        assert ask_alone(case, theirs, stub, case.examples(20)) == here


@EACH
def test_a_state_saved_by_dspy_asks_the_same_here(case: Case, tmp_path: Path) -> None:
    module, file = case.make(), tmp_path / "state.json"
    values = case.values
    with recording_stub(values) as stub:
        if case.is_async:
            learned = module.deepcopy()
            learned.think.demos = [dspy.Example(question="1?", reasoning="so").with_inputs()]
        else:
            teacher = dspy.BootstrapFewShot(max_bootstrapped_demos=2, max_labeled_demos=2)
            with dspy.context(lm=stub.dspy_lm()):
                learned = teacher.compile(module, trainset=case.data(4))
        learned.save(file)
        loaded = case.make()
        loaded.load(file)
        stub.take()
        alone = ask_alone(case, loaded, stub, case.examples(20))
        state = load_dspy_state(file, case.make())
        assert any(one.demos for one in state.predictors.values())
        assert ask_here(from_dspy(case.make()).bind(state), stub, case.examples(20)) == alone


def saved_by_dspy(tmp_path: Path, **changes: Any) -> Path:
    """Save a predictor with a demonstration, with some fields of the file changed."""
    module = dspy.Predict("question, hint -> answer: int")
    module.demos = [dspy.Example(question="1+1?", hint="none", answer=2)]
    file = tmp_path / "saved.json"
    module.save(file)
    file.write_bytes(orjson.dumps({**orjson.loads(file.read_bytes()), **changes}))
    return file


def test_a_saved_state_with_the_fields_in_another_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"field 1: 'Question:' .* 'hint'"):
        load_dspy_state(saved_by_dspy(tmp_path), dspy.Predict("hint, question -> answer: int"))


def test_a_saved_state_with_fewer_fields_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="3 fields in the file, 2 in the signature"):
        load_dspy_state(saved_by_dspy(tmp_path), dspy.Predict("question -> answer: int"))


def test_a_saved_demonstration_of_another_type_is_refused(tmp_path: Path) -> None:
    demos = [{"question": "1+1?", "hint": "none", "answer": [2]}]
    file = saved_by_dspy(tmp_path, demos=demos)
    with pytest.raises(ArtifactError, match="demonstration 1: 'answer' is not int"):
        load_dspy_state(file, dspy.Predict("question, hint -> answer: int"))


def test_a_saved_state_of_other_predictors_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    BY_NAME["async"].make().save(file)
    with pytest.raises(ArtifactError, match="think: in the file, not in the module"):
        load_dspy_state(file, BY_NAME["enum"].make())


def test_a_saved_lm_and_its_settings_are_loaded_without_its_address(tmp_path: Path) -> None:
    module = dspy.Predict("question -> answer")
    module.lm = dspy.LM("openai/small", api_base="http://x.test/v1", temperature=0.3, max_tokens=9)
    module.save(tmp_path / "saved.json")
    state = load_dspy_state(tmp_path / "saved.json", dspy.Predict("question -> answer"))["self"]
    assert state.lm == "openai/small"
    assert dict(state.decoding) == {"temperature": 0.3, "max_tokens": 9}


def test_a_state_of_another_signature_is_not_taken_to_dspy() -> None:
    state = from_dspy(dspy.Predict("question -> answer: int")).state()
    with pytest.raises(ArtifactError, match="learned for another signature"):
        to_dspy(state, dspy.Predict("question -> answer: float"))


def test_dspy_cannot_save_demonstrations_that_are_chosen_for_each_call(tmp_path: Path) -> None:
    case = BY_NAME["string"]
    module, state = case.make(), compiled(case, tmp_path, retrieval_share=1.0)
    with pytest.raises(ArtifactError, match="chooses demonstrations for each call"):
        save_dspy_state(state, module, tmp_path / "saved.json")
    with pytest.raises(ArtifactError, match="which DSPy cannot save"):
        to_dspy(state, module).save(tmp_path / "saved.json")


def test_the_module_does_not_change(tmp_path: Path) -> None:
    case = BY_NAME["nested"]
    module = case.make()
    before = copy.deepcopy(module.dump_state())
    state = told(compiled(case, tmp_path))
    with recording_stub(case.values) as stub:
        ask_here(from_dspy(module).bind(state), stub, case.examples(1))
    to_dspy(state, module)
    assert module.dump_state() == before
    assert [len(part.history) for _, part in module.named_predictors()] == [0] * 5


def test_keys_of_objects_without_a_declared_order_keep_theirs() -> None:
    module = dspy.Predict("question -> found: dict[str, int]")
    module.demos = [dspy.Example(question="1?", found={"b": 1, "a": 2})]
    (demo,) = to_dspy(from_dspy(module).state(), module).demos
    assert list(demo.found) == ["b", "a"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signature": {"instructions": 5}}, "not a saved predictor"),
        ({"lm": "openai/small"}, "not a saved predictor"),
        ({"lm": {"model": 5}}, "are not texts"),
    ],
)
def test_a_damaged_file_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = saved_by_dspy(tmp_path, **changes)
    with pytest.raises(ArtifactError, match=message):
        load_dspy_state(file, dspy.Predict("question, hint -> answer: int"))


@pytest.mark.parametrize("name", ["instructions", "description"])
def test_a_saved_text_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    saved = orjson.loads(saved_by_dspy(tmp_path).read_bytes())["signature"]
    changed = saved if name == "instructions" else saved["fields"][0]
    changed[name] = 5
    with pytest.raises(ArtifactError, match="are not texts"):
        load_dspy_state(
            saved_by_dspy(tmp_path, signature=saved), dspy.Predict("question, hint -> answer: int")
        )
