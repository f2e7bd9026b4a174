"""`prove` finds that a migrated file asks for the same, and what differs if it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.migrated_programs import NAMES, PROGRAMS

from lmpipe.integrations.migrate.migration import migrate, read_source
from lmpipe.integrations.migrate.proof.prove import Proof, prove, prove_all


@pytest.fixture(scope="module")
def proofs() -> dict[str, Proof]:
    """The proofs of the twelve programs; one process for each framework runs them all."""
    pairs = [(path, migrate(path.read_text()).source) for path in PROGRAMS]
    return dict(zip(NAMES, prove_all(pairs), strict=True))


COMPARED = {
    "async_program": {"Translator()": 2},
    "chain_of_thought": {"solver": 1},
    "enum_outputs": {"desk": 2},
    "history": {"guide": 1},
    "images": {"describe": 1, "colour": 1},
    "loop": {"slogans": 3, "best": 3},
    "multi_hop": {"program": 3},
    "nested_modules": {"panel": 4},
    "pydantic_outputs": {"reader": 2},
    "react_tools": {"agent": 1},
    "string_signature": {"summarize": 1, "titles": 1, "short": 1},
    "typed_signature": {"classify": 1},
}


@pytest.mark.parametrize("name", NAMES)
def test_the_twelve_programs_ask_for_the_same(name: str, proofs: dict[str, Proof]) -> None:
    assert not proofs[name].problems
    assert proofs[name].compared == COMPARED[name]


SOURCE = '''
import dspy


class Answer(dspy.Signature):
    """Answer the question."""

    question: str = dspy.InputField(desc="what is asked")
    answer: int = dspy.OutputField()


class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict(Answer)

    def forward(self, question):
        return self.answer(question=question)


program = Program()
rows = [dspy.Example(question="How many?", answer=3).with_inputs("question")]
'''

CHANGES = [
    ("Answer the question.", "Answer it.", "the instruction was 'Answer the question.'"),
    ("what is asked", "the question", "the field question was"),
    ("answer: int", "answer: float", "the field answer was"),
    ("answer: int = lmpipe.Output()", "number: int = lmpipe.Output()", "the outputs was"),
    ('question="How many?"', 'question="How few?"', "what it is given was"),
    ("self.answer = ", "self.respond = self.answer = ", "answer is not asked any more"),
    ("return self.answer(question=question)", "raise KeyError(question)", "KeyError: 'How many?'"),
    ("import lmpipe", "import lmpipe, no_such_module", "No module named 'no_such_module'"),
]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> list[Proof]:
    """The proofs of migrations that were changed, each in another way."""
    path = tmp_path_factory.mktemp("changed") / "program.py"
    path.write_text(SOURCE)
    source = migrate(SOURCE).source
    for before, _, _ in CHANGES:
        assert before in source
    return prove_all([(path, source.replace(before, after)) for before, after, _ in CHANGES])


@pytest.mark.parametrize("number", range(len(CHANGES)), ids=[after for _, after, _ in CHANGES])
def test_a_changed_migration_is_found(number: int, changed: list[Proof]) -> None:
    problems = " ".join(changed[number].problems)
    assert CHANGES[number][2] in problems
    assert not changed[number].compared


def test_a_file_reads_what_lies_beside_it_and_reaches_no_network(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("TEXT = 'Answer.'\n")
    path = tmp_path / "program.py"
    path.write_text(
        "import urllib.request\nimport dspy\nfrom pathlib import Path\n"
        "from beside import TEXT\n"
        "assert TEXT in Path(__file__).with_name('beside.py').read_text()\n"
        "program = dspy.Predict('q -> a')\n"
        "urllib.request.urlopen('http://example.com')\n"
    )
    [problem] = prove(path, migrate(path.read_text()).source).problems
    assert "the migrated file does not run" in problem
    assert "without a network" in problem


def test_a_loop_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        "import dspy\n\nclass Loop(dspy.Module):\n    def __init__(self):\n"
        "        self.ask = dspy.Predict('q -> good: bool')\n\n    def forward(self, q):\n"
        "        while self.ask(q=q).good:\n            pass\n"
    )
    problems = prove(path, migrate(path.read_text()).source).problems
    assert [problem.partition(" does")[0] for problem in problems] == ["Loop()"] * 2
    assert all("asks more than 100 times" in problem for problem in problems)


def test_passages_of_a_retriever_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        """
import dspy
from dspy.dsp.utils import dotdict


def search(query, k, **_):
    return [dotdict({"long_text": f"{query} {number}"}) for number in range(k)]


dspy.configure(rm=search)


class Rag(dspy.Module):
    def __init__(self):
        super().__init__()
        self.retrieve = dspy.Retrieve(k=2)
        self.answer = dspy.Predict("context: list[str], question -> answer")

    def forward(self, question):
        return self.answer(context=self.retrieve(question).passages, question=question)
"""
    )
    proof = prove(path, migrate(path.read_text()).source)
    assert not proof.problems
    assert proof.compared == {"Rag()": 1}


def test_replies_keep_the_bounds_of_fields(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        """
import dspy
import pydantic


class Part(pydantic.BaseModel):
    count: int = pydantic.Field(ge=10)
    code: str = pydantic.Field(max_length=4)


class Read(dspy.Signature):
    year: int = dspy.InputField(ge=1900)
    stars: float = dspy.OutputField(lt=0.2)
    parts: list[Part] = dspy.OutputField(min_length=2)


read = dspy.Predict(Read)
"""
    )
    proof = prove(path, migrate(path.read_text()).source)
    assert not proof.problems
    assert proof.compared == {"read": 1}


def test_without_dspy_only_the_new_file_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmpipe.integrations.migrate.proof.prove.find_spec", lambda name: None)
    path = tmp_path / "program.py"
    path.write_text("import dspy\nanswer = dspy.Predict('q -> a')\n")
    proof = prove(path, migrate(path.read_text()).source)
    assert proof.sentence() == "runs: answer; not compared with DSPy, which is not installed"
    assert not proof.problems


def test_a_file_beside_it_does_not_hide_what_the_comparison_needs(tmp_path: Path) -> None:
    for name in ("typing", "json", "dspy_helper", "pydantic"):
        (tmp_path / f"{name}.py").write_text("MARK = 1\n")
    path = tmp_path / "program.py"
    path.write_text("import dspy\nimport dspy_helper\nanswer = dspy.Predict('q -> a')\n")
    proof = prove(path, migrate(path.read_text()).source)
    assert not proof.problems
    assert proof.compared == {"answer": 1}


def test_a_file_in_another_encoding_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    text = "# coding: latin-1\r\nimport dspy\r\nanswer = dspy.Predict('q -> a')  # café\r\n"
    path.write_bytes(text.encode("latin-1"))
    proof = prove(path, migrate(read_source(path)).source)
    assert not proof.problems
    assert proof.compared == {"answer": 1}
