"""`export_to_dspy`: what DSPy loads asks and reads the same."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import dspy
import pydantic
import pytest
from annotated_types import Ge
from helpers.dspy_programs import CASES, Case
from helpers.dspy_stub import scripted_lm

import lmpipe
from lmpipe.errors import ExportError
from lmpipe.integrations.dspy import from_dspy
from lmpipe.integrations.dspy.export.files import export_to_dspy
from lmpipe.integrations.export.parity import Parity
from lmpipe.integrations.export.recorded_calls import record_calls
from lmpipe.state.program_state import AdapterRef, Demo, Retrieval

EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


class Mood(enum.Enum):
    """How somebody feels."""

    GOOD = "good"
    BAD = "bad"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclasses.dataclass
class Place:
    city: str
    zip_code: str | None = None


class Person(pydantic.BaseModel):
    """Somebody who writes."""

    name: str = pydantic.Field(description="as it is written", max_length=40)
    home: Place | None = None
    friends: list[Person] = []
    age: int = pydantic.Field(0, ge=0)


class Read(lmpipe.Signature):
    '''Read the "letter".

    Say """who""" wrote it, with \\n as it is.
    '''

    letter: str = lmpipe.Input(desc="it's a text")
    sent: datetime.date = lmpipe.Input()
    tags: dict[str, list[int]] = lmpipe.Input(default_factory=dict)
    size: Size = lmpipe.Input(default=Size.SMALL)
    writer: Person = lmpipe.Output()
    mood: Mood = lmpipe.Output(desc="of the writer")
    stars: Annotated[int, Ge(1)] | None = lmpipe.Output(le=5)


class Letters(lmpipe.Module):
    def __init__(self) -> None:
        self.read = lmpipe.Predict(Read, temperature=0.5)
        self.steps = [lmpipe.ChainOfThought("letter -> note"), lmpipe.Predict("letter -> note")]
        self.kinds = {"new-er": Inner()}

    def forward(self, letter: str, sent: datetime.date) -> Any:
        for step in self.steps:
            letter += step(letter=letter).note
        self.kinds["new-er"](letter)
        return self.read(letter=letter, sent=sent, tags={"a": [1]})


class Inner(lmpipe.Module):
    def __init__(self) -> None:
        self.sort = lmpipe.Predict("letter -> kind: Literal['old', 'new'], sure: bool")

    def forward(self, letter: str) -> Any:
        return self.sort(letter=letter)


WRITER = '{"name": "Ada", "home": {"city": "Bern"}, "age": 3, "friends": [{"name": "B"}]}'
REPLIES = {
    "writer": f"[[writer]]\n{WRITER}\n[[mood]]\ngood\n[[stars]]\n-",
    "reasoning": "[[reasoning]]\nI see.\n[[note]]\n A note.",
    "note": "[[note]]\nA note.",
    "kind": "[[kind]]\nold\n[[sure]]\nyes",
}


def answer(request: Any) -> str:
    return next(text for name, text in REPLIES.items() if f"[[{name}]]" in request.messages[0].text)


def learned(program: Any) -> Any:
    state = program.state()
    sort = state["kinds[new-er].sort"]
    demo = Demo(inputs={"letter": "é\n[[x]]"}, outputs={"kind": "new", "sure": False})
    return program.bind(
        state.update(
            {
                "kinds[new-er].sort": sort.replace(demos=(demo,), descriptions={"kind": "age"}),
                "steps[0]": state["steps[0]"].replace(instruction="Note it.\nWell."),
            }
        )
    )


def exported(program: Any, folder: Path, **inputs: Any) -> Any:
    examples: Any = [lmpipe.Example(**inputs).with_inputs(*inputs)]
    with lmpipe.using(lm=lmpipe.ScriptedLM(answer)):
        calls = record_calls(program, examples)
        return export_to_dspy(program, folder, calls=calls)


def letters(folder: Path) -> Any:
    return exported(learned(Letters()), folder, letter="Hi", sent=datetime.date(2026, 1, 2))


def test_a_program_asks_and_reads_the_same_in_dspy(tmp_path: Path) -> None:
    found = letters(tmp_path)
    assert found.parity == Parity(prompts=4, replies=4)
    assert found.uncalled == ()


class Aliased(pydantic.BaseModel):
    age: int = pydantic.Field(alias="years")


def test_a_reply_that_dspy_does_not_read_is_counted(tmp_path: Path) -> None:
    program = lmpipe.Predict(
        lmpipe.signature_from_string("letter -> by: Aliased", types={"Aliased": Aliased})
    )
    example: Any = lmpipe.Example(letter="Hi").with_inputs("letter")
    with lmpipe.using(lm=lmpipe.ScriptedLM(['[[by]]\n{"years": 3}'])):
        found = export_to_dspy(program, tmp_path, calls=record_calls(program, [example]))
    assert found.parity == Parity(prompts=1, replies=0, refused=1)


def loaded(folder: Path, script: str) -> str:
    """Run a script beside an exported module, in a process that has DSPy and not lmpipe."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import dspy_program\n{script}"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_module_needs_no_lmpipe_and_has_what_was_learned(tmp_path: Path) -> None:
    letters(tmp_path)
    script = (
        "import json\n"
        "parts = dict(dspy_program.load().named_predictors())\n"
        "told = {path: part.signature.instructions for path, part in parts.items()}\n"
        "demos = parts[\"kinds['new-er'].sort\"].demos\n"
        "print(json.dumps([told, demos, parts['read'].config, 'lmpipe' in sys.modules]))\n"
    )
    told, demos, config, needs_lmpipe = json.loads(loaded(tmp_path, script))
    assert list(told) == ["read", "steps[0].predict", "steps[1]", "kinds['new-er'].sort"]
    assert told["read"] == lmpipe.Predict(Read).state_of().instruction
    assert told["steps[0].predict"] == "Note it.\nWell."
    assert demos == [{"letter": "é\n[[x]]", "kind": "new", "sure": False}]
    assert config == {"temperature": 0.5}
    assert not needs_lmpipe


def test_the_file_is_what_one_would_write(tmp_path: Path) -> None:
    class Sort(lmpipe.Signature):
        """Sort the letter."""

        letter: str = lmpipe.Input(desc="a text")
        kind: Literal["old", "new"] = lmpipe.Output()
        sure: bool = lmpipe.Output()

    exported(lmpipe.Predict(Sort, max_tokens=9), tmp_path, letter="Hi")
    written = (tmp_path / "dspy_program.py").read_text()
    assert "import dspy\n\n\nclass Sort(dspy.Signature):" in written
    assert (
        '    """Sort the letter."""\n\n'
        "    letter: str = dspy.InputField(desc='a text')\n"
        "    kind: typing.Literal['old', 'new'] = dspy.OutputField()\n"
        "    sure: bool = dspy.OutputField()\n"
    ) in written
    assert "    program = dspy.Predict(Sort, max_tokens=9)\n" in written


def test_a_typed_function_is_exported(tmp_path: Path) -> None:
    @lmpipe.predict
    def note(letter: str) -> str:
        """Note what is said."""
        raise NotImplementedError

    with lmpipe.using(lm=lmpipe.ScriptedLM(["[[result]]\nA note."])):
        example: Any = lmpipe.Example(letter="Hi").with_inputs("letter")
        found = export_to_dspy(note, tmp_path, calls=record_calls(note, [example]))
    assert found.parity == Parity(prompts=1, replies=1)
    assert "class note(dspy.Module):" in (tmp_path / "dspy_program.py").read_text()


class Note(pydantic.BaseModel):
    text: str
    weight: float = pydantic.Field(0.0, le=math.inf)


KeptLetter = pydantic.create_model("Kept", note=(Note, ...))


class Kept(lmpipe.Signature):
    """Keep the letter."""

    letter: str = lmpipe.Input()
    kept: KeptLetter = lmpipe.Output()  # type: ignore[valid-type]


@lmpipe.predict
def load(letter: str) -> Note:
    """Load the letter."""
    raise NotImplementedError


@lmpipe.predict
def program(letter: str) -> Note:
    """Use the letter."""
    raise NotImplementedError


def test_no_two_things_in_the_file_have_one_name(tmp_path: Path) -> None:
    class Post(lmpipe.Module):
        def __init__(self) -> None:
            self.kept = lmpipe.Predict(Kept)
            self.loading, self.using = load, program

        def forward(self, letter: str) -> Any:
            return self.kept(letter=letter)

    Post.__name__ = "Kept"
    export_to_dspy(Post(), tmp_path, calls=[])  # loads it
    written = (tmp_path / "dspy_program.py").read_text()
    names = re.findall(r"^(?:class|def|import) (\w+)", written, re.MULTILINE)
    assert len(names) == len(set(names))
    assert {"Kept", "Kept2", "Kept3", "load", "load2", "program2"} <= set(names)


class Checked(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def check(cls, value: str) -> str:
        return value


def bound(**changes: Any) -> Any:
    program = lmpipe.Predict("letter -> note")
    return program.bind(program.state().map(**changes))


def look(letter: str) -> str:
    """Look at a letter."""
    return letter


class Saved(lmpipe.Module):
    def __init__(self) -> None:
        self.save = lmpipe.Predict("letter -> note")

    def forward(self, letter: str) -> Any:
        return self.save(letter=letter)


REFUSED: Mapping[str, tuple[Any, str]] = {
    "agent": (lambda: lmpipe.ReAct("letter -> note", tools=[look]), "has no counterpart in DSPy"),
    "attempts": (
        lambda: lmpipe.BestOfN(lmpipe.Predict("letter -> note"), n=2, reward=lambda a, b: 1.0),
        "BestOfN has no counterpart in DSPy",
    ),
    "type": (lambda: lmpipe.Predict("photo: lmpipe.Image -> note"), "self: the type Image is"),
    "code": (
        lambda: lmpipe.Predict(
            lmpipe.signature_from_string("letter -> by: Checked", types={"Checked": Checked})
        ),
        "Checked has code of its own",
    ),
    "adapter": (
        lambda: bound(adapter=AdapterRef(name="a-" + "0" * 16, sha256="0" * 64, base="b")),
        "self: it has a LoRA adapter",
    ),
    "nearest": (
        lambda: bound(
            retrieval=Retrieval(k=1, pool=(Demo(inputs={"letter": "a"}, outputs={"note": "b"}),))
        ),
        "self: it chooses demonstrations for each call",
    ),
    "attribute": (Saved, "save: every module of DSPy has a save of another kind"),
    "LM": (lambda: bound(lm="local"), "DSPy does not have the LM 'local'"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_dspy_does_not_have_is_refused_by_name(name: str, tmp_path: Path) -> None:
    make, told = REFUSED[name]
    with pytest.raises(ExportError, match=told):
        export_to_dspy(make(), tmp_path, calls=None)


@EACH
def test_the_state_of_a_dspy_program_asks_the_same_bytes(case: Case, tmp_path: Path) -> None:
    program = from_dspy(case.make(), max_calls=case.max_calls)
    demos = {
        path: one.replace(instruction=f"{one.instruction}\nAnswer with care.")
        for path, one in program.state().predictors.items()
    }
    program = program.bind(program.state().update(demos))
    examples: Any = [example_of(case, number) for number in range(3)]
    with lmpipe.using(lm=scripted_lm(case.values)):
        calls = record_calls(program, examples)
        found = export_to_dspy(program, tmp_path, calls=calls)
    assert found.parity is not None
    assert found.parity.prompts == len(calls) > 0
    assert [file.name for file in found.files] == ["dspy_state.json"]
    again = case.make()
    again.load(found.files[0])
    told = [part.signature.instructions for _, part in again.named_predictors()]
    assert all(text.endswith("with care.") for text in told)


def example_of(case: Case, number: int) -> Any:
    from lmpipe.integrations.dspy import example_from_dspy

    return example_from_dspy(case.examples(number))


def test_settings_that_dspy_does_not_save_are_refused(tmp_path: Path) -> None:
    program = from_dspy(dspy.Predict("letter -> note", max_tokens=9))
    warmer = program.bind(program.state().map(decoding={"max_tokens": 9, "temperature": 0.5}))
    with pytest.raises(ExportError, match=r"self: it was compiled to run with .*0\.5"):
        export_to_dspy(warmer, tmp_path, calls=())


def test_a_state_that_asks_something_else_is_refused(tmp_path: Path) -> None:
    program = from_dspy(dspy.Predict("letter -> note"))
    example: Any = lmpipe.Example(letter="Hi").with_inputs("letter")
    with lmpipe.using(lm=lmpipe.ScriptedLM(["[[ ## note ## ]]\nA note."])):
        calls = record_calls(program, [example])
    other = program.bind(program.state().map(instruction="Something else."))
    with pytest.raises(ExportError, match=r"self, validation example 1: the messages differ"):
        export_to_dspy(other, tmp_path, calls=calls)
