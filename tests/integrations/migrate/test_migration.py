"""`migrate` rewrites DSPy's common forms, keeps the rest, and says what is left to do."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest
from helpers.migrated_programs import NAMES, PROGRAMS, run_migrated

import lmpipe
from lmpipe.errors import InputError
from lmpipe.integrations.migrate.migration import migrate, read_source

# What is left to do by hand in the twelve programs.
LEFT = {
    "chain_of_thought": ["the trace is given in evaluations", "train and val share no rows"],
    "react_tools": ["the trajectory is a value with steps"],
}


@pytest.mark.parametrize("path", PROGRAMS, ids=NAMES)
def test_what_is_left_of_the_twelve_programs(path: Path) -> None:
    migration = migrate(path.read_text())
    expected = LEFT.get(path.stem, [])
    assert [
        note.text[: len(text)] for note, text in zip(migration.left, expected, strict=True)
    ] == expected


@pytest.mark.parametrize("path", PROGRAMS, ids=NAMES)
def test_migrated_programs_do_not_name_dspy(path: Path) -> None:
    tree = ast.parse(migrate(path.read_text()).source)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "dspy"]


@pytest.mark.parametrize(
    "path",
    [path for path in PROGRAMS if path.stem != "react_tools"],
    ids=[name for name in NAMES if name != "react_tools"],
)
def test_migrated_programs_run_unchanged_with_their_compiles_and_evaluations(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = run_migrated(migrate(path.read_text()).source, tmp_path, monkeypatch)
    assert lm.requests


def test_the_agent_runs_up_to_the_line_that_is_left_to_do() -> None:
    path = next(path for path in PROGRAMS if path.stem == "react_tools")
    migration = migrate(path.read_text())
    [note] = migration.left
    assert "result.trajectory" in path.read_text().splitlines()[note.line - 1]


def migrated(source: str) -> str:
    return migrate("import dspy\n" + textwrap.dedent(source)).source.partition("\n")[2]


FORMS = [
    ('dspy.Predict("q -> a")', 'lmpipe.Predict("q -> a")'),
    (
        'dspy.ChainOfThought("q -> a", temperature=1)',
        'lmpipe.ChainOfThought("q -> a", temperature=1)',
    ),
    ('dspy.Predict("i: dspy.Image -> a")', 'lmpipe.Predict("i: lmpipe.Image -> a")'),
    (
        'dspy.Signature("q -> a", "Answer.")',
        'lmpipe.signature_from_string("q -> a", instruction="Answer.")',
    ),
    ('S.with_instructions("x")', 'S.with_instruction("x")'),
    ('dspy.ReAct("q -> a", [f])', 'lmpipe.ReAct("q -> a", [f], max_steps=20)'),
    (
        'dspy.ReAct("q -> a", tools=[f], max_iters=3)',
        'lmpipe.ReAct("q -> a", tools=[f], max_steps=3)',
    ),
    (
        'dspy.ProgramOfThought("q -> a", max_iters=2)',
        'lmpipe.ProgramOfThought("q -> a", max_attempts=2)',
    ),
    ("dspy.BestOfN(p, 3, reward, 1.0)", "lmpipe.BestOfN(p, n=3, reward=reward, threshold=1.0)"),
    (
        "dspy.Refine(module=p, N=3, reward_fn=r, threshold=0.5)",
        "lmpipe.Refine(program=p, n=3, reward=r, threshold=0.5)",
    ),
    ('dspy.MultiChainComparison("q -> a", M=5)', 'lmpipe.MultiChainComparison("q -> a", m=5)'),
    ("dspy.majority(answers)", "lmpipe.majority(answers)"),
    ("dspy.Parallel(num_threads=4)(pairs)", "lmpipe.Parallel(concurrency=4)(pairs)"),
    (
        "dspy.Tool(f, name='g', desc='Does g.')",
        "lmpipe.Tool.of(f, name='g', description='Does g.')",
    ),
    ("dspy.settings.configure(lm=lm)", "lmpipe.configure(lm=lm)"),
    (
        'dspy.LM("hosted_vllm/m", api_base=URL, api_key="k", num_retries=3, top_p=0.9)',
        'lmpipe.LM("vllm/m", base_url=URL, api_key="k", top_p=0.9)',
    ),
    ('dspy.LM("openai/m")("Hello")[0]', 'lmpipe.LM("openai/m")("Hello").text'),
    ("dspy.Image.from_url(url)", "lmpipe.Image.of(url)"),
    ("dspy.Image(url=url)", "lmpipe.Image.of(url)"),
    ("dspy.Audio.from_file(path)", "lmpipe.Audio.of(path)"),
    ("dspy.History(messages=turns)", "lmpipe.History(turns=turns)"),
    ('dspy.Code["python"]', 'lmpipe.Code["python"]'),
    ("dspy.inspect_history(n=3)", "lmpipe.inspect_history(n=3)"),
    ("dspy.asyncify(program)(x=1)", "program.acall(x=1)"),
    (
        "dspy.Example(q=1, a=2).with_inputs('q').inputs()",
        "lmpipe.Example(q=1, a=2).with_inputs('q').inputs",
    ),
    ("dspy.Example(q=1).toDict()", "lmpipe.Example(q=1).to_json()"),
    (
        "dspy.Evaluate(devset=dev, metric=m, num_threads=4)(program)",
        "lmpipe.evaluate(program, data=dev, metric=m, concurrency=4)",
    ),
    (
        "dspy.Embeddings(corpus=texts, embedder=dspy.Embedder('openai/e'), k=2)",
        "lmpipe.Retrieve(lmpipe.Embeddings.of(texts, embedder=lmpipe.LM('openai/e')), k=2)",
    ),
    ("isinstance(x, dspy.Prediction)", "isinstance(x, lmpipe.Signature)"),
    ("dspy.Prediction(a=1)", "lmpipe.Prediction(a=1)"),
    (
        "dspy.evaluate.answer_exact_match(e, p) and x",
        '(lmpipe.metrics.normalized_match("answer")(e, p).value == 1) and x',
    ),
]


@pytest.mark.parametrize(("before", "after"), FORMS, ids=[before for before, _ in FORMS])
def test_forms(before: str, after: str) -> None:
    assert migrated(before) == after


OPTIMIZERS = [
    ("BootstrapFewShot(metric=m, max_bootstrapped_demos=2)", "BootstrapFewShot(bootstrapped=2)"),
    ("BootstrapFewShotWithRandomSearch(m, num_candidate_programs=5)", "RandomSearch(candidates=5)"),
    ('MIPROv2(metric=m, auto="medium", num_threads=2)', 'MIPROv2(effort="medium")'),
    ("MIPROv2(metric=m, auto=None, num_candidates=3)", "MIPROv2(instructions=3)"),
    ("COPRO(metric=m, breadth=4, depth=2)", "COPRO(breadth=4, depth=2)"),
    ("SIMBA(metric=m, max_steps=4, bsize=8)", "SIMBA(steps=4, batch=8)"),
    ('GEPA(metric=m, auto="light")', 'GEPA(effort="light")'),
    ("KNNFewShot(3, rows, vectorizer, metric=m)", "KNNFewShot(k=(3,))"),
    ("BootstrapFinetune(metric=m)", "BootstrapFinetune()"),
    ("InferRules(metric=m, num_candidates=3, num_rules=5)", "InferRules(candidates=3, rules=5)"),
    (
        "BetterTogether(metric=m, p=dspy.GEPA(metric=m), w=dspy.BootstrapFinetune(metric=m))",
        "BetterTogether(prompt=lmpipe.GEPA(), weights=lmpipe.BootstrapFinetune())",
    ),
]


@pytest.mark.parametrize(("before", "after"), OPTIMIZERS, ids=[before for before, _ in OPTIMIZERS])
def test_optimizers(before: str, after: str) -> None:
    source = migrated(
        f"optimizer = dspy.{before}\nbest = optimizer.compile(program, trainset=rows)"
    )
    assert source.startswith(f"optimizer = lmpipe.{after}\n")
    assert "metric=m,\n    optimizer=optimizer,\n)).program" in source
    optimizer = getattr(lmpipe, after.partition("(")[0])
    assert isinstance(eval(f"lmpipe.{after}"), optimizer)


def test_lms_of_an_optimizer_are_roles_of_the_recipe() -> None:
    source = migrated(
        """
        optimizer = dspy.MIPROv2(
            metric=m, prompt_model=big, task_model=small, teacher_settings=dict(lm=big)
        )
        best = optimizer.compile(program, trainset=rows, teacher=other, seed=3)
        """
    )
    for argument in (
        "program=program",
        "train=rows",
        "teacher_program=other",
        "seed=3",
        "proposer=big",
        "student=small",
        "teacher=big",
    ):
        assert f"    {argument},\n" in source


def test_a_field_without_a_type_is_text() -> None:
    source = migrated(
        """
        class S(dspy.Signature):
            question = dspy.InputField(prefix="Q:", desc="what is asked")
            answer: int = dspy.OutputField()
        """
    )
    assert 'question: str = lmpipe.Input(desc="what is asked")' in source


def test_retrieve_gets_what_is_configured_as_the_retriever() -> None:
    source = migrated(
        """
        dspy.configure(lm=lm, rm=search)

        class Rag(dspy.Module):
            def __init__(self):
                self.retrieve = dspy.Retrieve(k=2)

            def forward(self, question):
                return self.retrieve(question).passages
        """
    )
    assert "lmpipe.configure(lm=lm)" in source
    texts = "lambda query, k: [item.long_text for item in search(query, k=k)]"
    assert f"self.retrieve = lmpipe.Retrieve({texts}, k=2)" in source
    assert "return [passage.text for passage in self.retrieve(question)]" in source


def test_a_metric_with_five_parameters_keeps_those_that_lmpipe_passes() -> None:
    source = migrated(
        """
        def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
            return dspy.Prediction(score=1.0, feedback="good")
        """
    )
    assert "def metric(gold, pred, trace=None):" in source
    assert 'return lmpipe.Score(value=1.0, feedback="good")' in source


def test_a_state_is_saved_and_loaded() -> None:
    source = migrate(
        "import dspy\n\nprogram = dspy.Predict('q -> a')\nprogram.save('state.json')\n"
        "program.load('state.json')\n"
    ).source
    assert "Path('state.json').write_bytes(program.state().to_bytes())" in source
    bound = "lmpipe.ProgramState.from_bytes(Path('state.json').read_bytes())"
    assert f"program = program.bind({bound})" in source
    assert source.startswith("from pathlib import Path\nimport lmpipe\n")


def test_names_imported_from_dspy_are_found() -> None:
    source = migrate(
        "from dspy import Predict as P, InputField\nfrom dspy.teleprompt import COPRO\n"
        "# The task.\np = P('q -> a')\n"
    ).source
    assert source == "import lmpipe\n# The task.\np = lmpipe.Predict('q -> a')\n"


def test_what_is_not_of_dspy_stays_byte_for_byte() -> None:
    source = textwrap.dedent(
        """\
        import   os
        import dspy   # the framework

        x = { 'a':1 }   # odd   spaces
        p = dspy.Predict( 'q -> a',   # the signature
            temperature = 0.5 )
        """
    )
    expected = source.replace("dspy", "lmpipe")
    assert migrate(source).source == expected


BY_HAND = [
    ("dspy.streamify(program)", "program.stream"),
    ("dspy.ColBERTv2(url=url)", "write a function (query, k)"),
    ("dspy.Retrieve(k=3)", "pass what searches"),
    ('dspy.Predict("q -> a", n=5)', "draw samples with predictor.samples"),
    ('dspy.LM("openai/m", cache=False)', "lmpipe.configure(cache=False)"),
    ('p = dspy.Predict("q -> a")\np.set_lm(lm)', "a program is not changed"),
    ('p = dspy.Predict("q -> a")\np(q=1, config={"n": 2})', "set decoding at the predictor"),
    ('p = dspy.Predict("q -> a")\np.demos = []', "demonstrations are part of a state"),
    ("dspy.BootstrapFewShot(max_rounds=1).compile(p, trainset=t)", "a recipe needs a metric"),
    ("dspy.GEPA(metric=m, component_selector=f).compile(p, trainset=t)", "no such setting"),
    ("dspy.context(lm=lm, adapter=dspy.JSONAdapter())", "choose the layout"),
    ("tool = dspy.Tool(f)\ntool(x=1)", "call the function of the tool"),
    ("dspy.SomethingNew()", "lmpipe has no SomethingNew"),
    ("dspy.Tool.from_mcp_tool(session, tool)", "lmpipe.mcp_tools(session)"),
    ("print(dspy.settings.lm.model)", "pass the LM where it is used"),
]


@pytest.mark.parametrize(("source", "text"), BY_HAND, ids=[source for source, _ in BY_HAND])
def test_what_cannot_be_rewritten_gets_a_comment_above_it(source: str, text: str) -> None:
    migration = migrate(f"import dspy\n{source}\n")
    [note] = migration.left
    assert text in note.text
    comments = [line for line in migration.source.splitlines() if line.startswith("# lmpipe: ")]
    assert len(comments) == 1
    assert text.split()[0] in " ".join(migration.source.splitlines())
    ast.parse(migration.source)


def test_names_that_are_left_keep_their_import() -> None:
    source = migrate(
        "import dspy\nfrom dspy.teleprompt import Ensemble, COPRO\n"
        "p = dspy.Predict('q -> a')\ne = Ensemble(size=2)\n"
    ).source
    assert "from dspy.teleprompt import Ensemble\n" in source
    assert "COPRO" not in source
    assert "import lmpipe" in source


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("from dspy import Image", "Image.from_url(url, True)"),
        ("from dspy import teleprompt", "teleprompt.Ensemble(size=2)"),
        ("import dspy.evaluate as scores", "scores.answer_exact_match(row, result, frac=0.9)"),
    ],
)
def test_what_is_left_of_an_attribute_keeps_the_import_of_its_owner(line: str, left: str) -> None:
    source = migrate(f"{line}\n{left}\n").source
    assert line in source
    assert left in source


def test_an_adapter_becomes_the_layout_of_each_predictor() -> None:
    source = migrated(
        """
        dspy.configure(adapter=dspy.XMLAdapter())
        p = dspy.Predict("q -> a")
        """
    )
    assert 'lmpipe.configure()\np = lmpipe.Predict("q -> a", layout="xml")' in source


def test_what_is_left_of_a_name_keeps_the_import() -> None:
    source = migrate("import dspy\nadapter = dspy.JSONAdapter()\ndspy.configure(adapter=adapter)\n")
    assert source.source.startswith("import dspy, lmpipe\n")
    assert "adapter = dspy.JSONAdapter()" in source.source


def test_a_file_that_is_not_python_is_refused_with_its_line() -> None:
    with pytest.raises(InputError, match=r"app\.py:2: is not valid Python"):
        migrate("import dspy\nx = (\n", name="app.py")


def test_a_file_without_dspy_is_refused() -> None:
    with pytest.raises(InputError, match="does not use dspy"):
        migrate("x = 1\n", name="app.py")


def test_a_name_that_is_given_many_values_made_of_itself_is_followed_in_no_time() -> None:
    values = "".join(f"x = x.f(x)[{number}]\n" for number in range(60))
    assert migrated(f"{values}x['a']\n") == f"{values}x['a']\n"


def test_a_parameter_is_not_the_variable_of_the_file() -> None:
    source = migrated(
        """
        result = dspy.Predict("q -> a")(q=1)

        def show(result):
            return result["a"]
        """
    )
    assert 'return result["a"]' in source


def test_a_class_may_have_a_base_of_its_name() -> None:
    source = "from elsewhere import Foo\n\nclass Foo(Foo):\n    pass\n\nFoo()\n"
    assert migrated(source) == source


def left_of(code: str) -> list[str]:
    return [note.text for note in migrate(f"import dspy\n{code}\n").left]


def test_options_that_are_passed_on_keep_their_place_and_say_what_to_look_for() -> None:
    source = migrated("agent = dspy.ReAct('q -> a', tools=[f], **options)")
    assert "lmpipe.ReAct('q -> a', tools=[f], **options)" in source
    assert left_of("agent = dspy.ReAct('q -> a', tools=[f], **options)") == [
        "**options of ReAct is passed on as it is: in lmpipe max_iters is max_steps"
    ]


def test_options_of_an_optimizer_and_of_its_compile_are_passed_on() -> None:
    source = migrated(
        """
        optimizer = dspy.MIPROv2(metric=m, **options)
        best = optimizer.compile(p, trainset=rows, **more)
        """
    )
    assert "lmpipe.MIPROv2(**options)" in source
    assert "**more," in source
    assert "in lmpipe auto is effort" in source
    assert "in lmpipe student is program" in source


def test_what_stands_after_arguments_by_position_has_no_name() -> None:
    source = migrated("agent = dspy.ReAct(*parts, [f])")
    assert "lmpipe.ReAct(*parts" in source
    assert "signature=" not in source
    assert "*parts of ReAct is passed on as it is: give the arguments by lmpipe's names" in source


def test_fields_of_an_example_that_are_unpacked_need_nothing() -> None:
    assert left_of("row = dspy.Example(**fields)") == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"dspy.History"', '"lmpipe.History"'),
        ("Optional['dspy.Image']", "Optional['lmpipe.Image']"),
        ('"list[dspy.Prediction] | None"', '"list[lmpipe.Prediction] | None"'),
        ('"H"', '"lmpipe.History"'),
    ],
)
def test_quoted_annotations_are_rewritten(before: str, after: str) -> None:
    source = migrate(f"import dspy\nfrom dspy import History as H\n\ndef f(x: {before}): ...\n")
    assert f"def f(x: {after}): ..." in source.source


def test_a_quoted_annotation_keeps_what_lmpipe_does_not_have() -> None:
    migration = migrate('import dspy\n\ndef f(x: "dspy.Reasoning"): ...\n')
    assert migration.source.startswith("import dspy, lmpipe\n")
    assert 'def f(x: "dspy.Reasoning"): ...' in migration.source
    assert [note.line for note in migration.left] == [3]


def test_texts_that_are_no_types_stay() -> None:
    line = 'x: Literal["dspy.Image"] = "dspy.Image"\n'
    assert migrate(f"import dspy\n{line}").source.endswith(line)


def test_ends_of_lines_stay(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_bytes(b"import dspy\r\nagent = dspy.ReAct('q -> a', tools=[], **more)\r\n")
    source = migrate(read_source(file)).source
    assert "# lmpipe: **more of ReAct" in source
    assert source.count("\r\n") == source.count("\n") == 3


def test_a_declared_encoding_is_read_and_becomes_utf8(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    text = "#!/usr/bin/env python\n# -*- coding: latin-1 -*-\nimport dspy\nname = 'café'\n"
    file.write_bytes(text.encode("latin-1"))
    source = migrate(read_source(file)).source
    assert source.splitlines()[1:] == ["# -*- coding: utf-8 -*-", "import lmpipe", "name = 'café'"]


@pytest.mark.parametrize(
    "data", [b"import dspy\nname = '\xe9'\n", b"# coding: nothing\nimport dspy"]
)
def test_a_file_in_another_encoding_than_it_says_is_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"app\.py: cannot be read as Python source"):
        read_source(file)
