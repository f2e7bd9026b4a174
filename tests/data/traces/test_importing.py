"""`import_examples` makes the same examples of the same runs, whatever tool recorded them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import blocks, examples_of, read_page, run_examples

import lmpipe
from lmpipe.data.traces.importing import import_file
from lmpipe.errors import DataError
from lmpipe.lm.request import Request

FILES = Path(__file__).parent / "files"

TRACES = {
    "otlp": ("otlp.jsonl", "otlp.toml"),
    "langfuse": ("langfuse.json", "langfuse.toml"),
    "langfuse-blob": ("langfuse_blob.jsonl", "langfuse.toml"),
    "langsmith": ("langsmith.jsonl", "langsmith.toml"),
    "mlflow": ("mlflow.json", "mlflow.toml"),
}
RIGHT = {
    "Which river flows through Bern?": "Aare",
    "Which lake lies at Geneva?": "Lake Geneva",  # corrected
    "Which lake lies at Lugano?": "Lake Lugano",  # unrated
    "Which lake lies at Thun?": "Lake Thun",
    "Which river flows through Zurich?": "Limmat",
}


def changed(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The mapping of a file, with other entries about feedback."""
    mapping = tomllib.loads((FILES / name).read_text())
    return {**mapping, "feedback": {**mapping["feedback"], **changes}}


@pytest.mark.parametrize(("file", "mapping"), TRACES.values(), ids=TRACES)
def test_runs_become_examples(file: str, mapping: str) -> None:
    imported = import_file(FILES / file, mapping=FILES / mapping)
    rows = {row["question"]: row["answer"] for row in imported.examples}
    assert rows == RIGHT
    assert imported.left_out == {"disliked": 1, "failed": 1}
    for row in imported.examples:
        assert dict(row.inputs) == {"question": row["question"]}
        assert row["topic"] == ("rivers" if "river" in row["question"] else "lakes")


@pytest.mark.parametrize(("file", "mapping"), TRACES.values(), ids=TRACES)
def test_uses_of_a_predictor_become_examples(file: str, mapping: str) -> None:
    unjudged = changed(mapping, {"thumb": ""})
    rows = lmpipe.import_examples(FILES / file, mapping=unjudged, predictor="choose_topic")
    assert len(rows) == 7
    assert all(row["request"].startswith("Which ") for row in rows)
    assert all(list(row.inputs) == ["request"] for row in rows)
    assert {row["topic"] for row in rows} == {"rivers", "lakes"}
    assert {tuple(row) for row in rows} == {("request", "topic")}


def test_a_field_of_the_program_is_not_that_of_a_predictor() -> None:
    mapping = tomllib.loads((FILES / "langsmith.toml").read_text())
    request = mapping["predictors"]["choose_topic"]["inputs"].pop("request")
    mapping["predictors"]["choose_topic"]["inputs"]["question"] = request | {"pattern": "T"}
    rows = lmpipe.import_examples(FILES / "langsmith.jsonl", mapping=mapping)
    assert {row["question"] for row in rows} == set(RIGHT)


def test_disliked_runs_are_kept_with_their_thumb_if_asked() -> None:
    mapping = changed("langfuse.toml", {"disliked": "keep", "thumb_field": "liked"})
    rows = lmpipe.import_examples(FILES / "langfuse.json", mapping=mapping)
    thumbs = {row["answer"]: row.get("liked") for row in rows}
    assert thumbs == {
        "Aare": True,
        "Lake Geneva": False,
        "Rhone": False,
        "Lake Lugano": None,
        "Lake Thun": True,
        "Limmat": True,
    }


def test_unrated_runs_are_left_out_if_asked() -> None:
    mapping = changed("mlflow.toml", {"unrated": "skip"})
    imported = import_file(FILES / "mlflow.json", mapping=mapping)
    assert imported.left_out == {"disliked": 1, "failed": 1, "unrated": 1}


def test_samples_of_openai_evals_become_examples() -> None:
    rows = lmpipe.import_examples(FILES / "openai_evals.jsonl", mapping=FILES / "openai_evals.json")
    assert len(rows) == 6
    assert rows[0].to_json() == {
        "question": "Which river flows through Bern?",
        "answer": "Aare",
        "accepted": ["Aare", "aare"],
    }
    assert rows[1]["answer"] == "Lake Geneva"


def test_stored_completions_become_examples_with_the_messages_that_are_listed_apart() -> None:
    imported = import_file(
        FILES / "stored_completions.jsonl", mapping=FILES / "stored_completions.toml"
    )
    assert [row.to_json() for row in imported.examples[:2]] == [
        {"question": "Which river flows through Bern?", "answer": "Aare", "liked": True},
        {"question": "Which lake lies at Lugano?", "answer": "Lake Lugano"},
    ]
    assert imported.left_out == {"disliked": 2}


def test_rows_of_a_training_file_are_stored_completions(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    messages = [{"role": "user", "content": "Bern?"}, {"role": "assistant", "content": "Aare"}]
    path.write_text(json.dumps({"messages": messages}) + "\n")
    [row] = lmpipe.import_examples(path, mapping=FILES / "stored_completions.toml")
    assert row.to_json() == {"question": "Bern?", "answer": "Aare"}


@pytest.mark.parametrize(
    ("file", "mapping"),
    [
        *TRACES.values(),
        ("openai_evals.jsonl", "openai_evals.json"),
        ("stored_completions.jsonl", "stored_completions.toml"),
    ],
    ids=[*TRACES, "openai-evals", "stored-completions"],
)
def test_imported_examples_compile(file: str, mapping: str, tmp_path: Path) -> None:
    rows = lmpipe.import_examples(FILES / file, mapping=FILES / mapping)

    def answer(request: Request) -> str:
        """Answer rightly if there are demonstrations."""
        asked = request.messages[-1].text
        right = next(row["answer"] for row in rows if row["question"] in asked)
        return right if len(request.messages) > 2 else "unknown"

    lm = lmpipe.ScriptedLM(answer)
    recipe = lmpipe.Recipe(
        program=lmpipe.Predict("question -> answer"),
        train=rows,
        metric=lmpipe.metrics.exact_match("answer"),
        optimizer=lmpipe.LabeledFewShot(demos=2),
        student=lm,
        train_check=0,
    )
    run = lmpipe.compile(recipe, runs=tmp_path)
    [demos] = [state.demos for state in run.state.predictors.values()]
    assert {demo.inputs["question"] for demo in demos} <= {row["question"] for row in rows}
    assert len(demos) == 2


MINIMAL: dict[str, Any] = {
    "format": "langsmith",
    "program": {"inputs": {"q": "input.q"}, "outputs": {"a": "output.a"}},
}
RUN = {"id": "1", "name": "answer", "run_type": "chain", "inputs": {"q": 1}, "outputs": {"a": 2}}

WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("a line that is not JSON", "{", MINIMAL, r"traces\.jsonl:1: expected one JSON object"),
    ("another object", '{"x": 1}', MINIMAL, r"traces\.jsonl:1: is neither a run.*it has x"),
    (
        "a path that leads nowhere",
        json.dumps(RUN),
        {**MINIMAL, "program": {"inputs": {"q": "input.question"}}},
        r"traces\.jsonl:1: span 'answer': field 'q': there is no question for the path "
        r"input\.question: input has the names q; change the path",
    ),
    (
        "a span that is not there",
        json.dumps(RUN),
        {**MINIMAL, "program": {"span": "reply", "inputs": {"q": "input.q"}}},
        r"traces\.jsonl: has no span named 'reply': its spans are 'answer'; change `span`",
    ),
    (
        "no inputs",
        json.dumps(RUN),
        {"format": "langsmith"},
        r"the mapping names no inputs: write \[program\] with inputs",
    ),
    ("no format", json.dumps(RUN), {"program": MINIMAL["program"]}, "choose one of otlp, langfuse"),
    (
        "an unknown entry",
        json.dumps(RUN),
        {**MINIMAL, "programme": {}},
        "the mapping: programme: is unknown",
    ),
    (
        "a wrong path",
        json.dumps(RUN),
        {**MINIMAL, "program": {"inputs": {"q": "input[x]"}}},
        r"program\.inputs\.q: 'input\[x\]' is not a path",
    ),
    (
        "a pattern that is not found",
        json.dumps({**RUN, "inputs": {"q": "Bern"}}),
        {**MINIMAL, "program": {"inputs": {"q": {"path": "input.q", "pattern": "Q: (.*)"}}}},
        r"span 'answer': field 'q': the pattern 'Q: \(\.\*\)' is not found at input\.q: 'Bern'",
    ),
    (
        "a value that is not a thumb",
        json.dumps(RUN) + '\n{"run_id": "1", "key": "thumb", "value": "perhaps"}',
        {**MINIMAL, "feedback": {"thumb": "thumb"}},
        r"traces\.jsonl:1: span 'answer': the feedback 'thumb' is 'perhaps', which is not a thumb",
    ),
    (
        "only failed runs",
        json.dumps({**RUN, "error": "timeout"}),
        MINIMAL,
        r"traces\.jsonl: no run is left: 1 failed",
    ),
]


@pytest.mark.parametrize(
    ("text", "mapping", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_errors_name_the_place_and_the_remedy(
    text: str, mapping: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(DataError, match=message):
        lmpipe.import_examples(path, mapping=mapping)


def test_an_unknown_predictor_is_named() -> None:
    with pytest.raises(DataError, match="no predictor 'reply'; it has choose_topic"):
        lmpipe.import_examples(
            FILES / "mlflow.json", mapping=FILES / "mlflow.toml", predictor="reply"
        )


@pytest.mark.parametrize("format", ["otlp", "langfuse", "langsmith", "mlflow", "openai-evals"])
def test_a_file_of_another_format_is_refused(format: str) -> None:
    mapping = {"program": {"inputs": {"q": "input.q"}}}
    with pytest.raises(DataError, match=r"stored_completions\.jsonl:1: "):
        lmpipe.import_examples(FILES / "stored_completions.jsonl", mapping=mapping, format=format)


def test_a_mapping_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    with pytest.raises(DataError, match=r"map\.toml: the mapping cannot be read"):
        lmpipe.import_examples(FILES / "mlflow.json", mapping=path)
    path.write_text("format = ")
    with pytest.raises(DataError, match=r"map\.toml: is not TOML"):
        lmpipe.import_examples(FILES / "mlflow.json", mapping=path)


def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = examples_of("data-in.md")
    run_examples(source, tmp_path)
    assert f"# {capsys.readouterr().out}" in source


def test_the_mapping_of_the_page_reads_the_example_file(tmp_path: Path) -> None:
    [text] = blocks(read_page("data-in.md"), "toml")
    mapping = tmp_path / "map.toml"
    mapping.write_text(text)
    file = FILES / "langfuse.json"
    rows = lmpipe.import_examples(file, mapping=mapping)
    assert {row["question"]: row["answer"] for row in rows} == RIGHT
    assert lmpipe.import_examples(file, mapping=mapping, predictor="topic.choose")
