from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.data.example import Example
from lmpipe.data.reading import (
    check_disjoint,
    check_not_empty,
    distinct_examples,
    fingerprint,
    read_examples,
    shuffled,
    split,
)
from lmpipe.errors import ConfigError, DataError

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(path: str | Path, **options: Any) -> list[Example]:
    return read_examples(path, **{"inputs": ["question"], **options})


def row(question: str, answer: str = "a") -> Example:
    return Example(question=question, answer=answer).with_inputs("question")


def rows(count: int) -> list[Example]:
    return [row(f"q{number}") for number in range(count)]


ROWS = [row("q1", "a1"), row("q2", "a2")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"question":"q1","answer":"a1"}\n{"question":"q2","answer":"a2"}'),
        ("bom.jsonl", '\ufeff{"question":"q1","answer":"a1"}\n\n{"question":"q2","answer":"a2"}\n'),
        ("crlf.jsonl", '{"question":"q1","answer":"a1"}\r\n{"question":"q2","answer":"a2"}\r\n'),
        ("rows.json", '[{"question":"q1","answer":"a1"},{"question":"q2","answer":"a2"}]'),
        ("bom.json", '\ufeff[{"question":"q1","answer":"a1"},\n{"question":"q2","answer":"a2"}]'),
        ("rows.csv", "question,answer\nq1,a1\nq2,a2\n"),
        ("bom.csv", "\ufeffquestion,answer\r\nq1,a1\r\n\r\nq2,a2"),
        ("rows.tsv", "question\tanswer\nq1\ta1\nq2\ta2\n"),
        ("ROWS.CSV", '"question","answer"\n"q1","a1"\n"q2","a2"\n'),
    ],
)
def test_every_text_format_gives_the_same_rows(write: Write, name: str, content: str) -> None:
    assert read(write(name, content)) == ROWS


def test_csv_values_may_hold_separators_quotes_and_line_ends(write: Write) -> None:
    path = write("rows.csv", 'question,answer\n"a, ""b""\nc",1\n')
    assert read(path)[0].question == 'a, "b"\nc'


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["question", "answer"]),
            st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-9, 9) | st.none(),
            min_size=2,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_jsonl_gives_back_what_was_written(values: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b"\n".join(map(orjson.dumps, values)))
        assert [example.to_json() for example in read(path)] == values


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"question":1}\n\n{"question":\n', r"x\.jsonl:3: expected one JSON object"),
        ("x.jsonl", '{"question":NaN}', r"x\.jsonl:1: expected one JSON object"),
        ("x.jsonl", '{"question":1}\n[1,2]', r"x\.jsonl:2: expected an object.*a list of 2"),
        ("x.jsonl", '{"qestion":1}', r"x\.jsonl:1: .*'question'; did you mean 'qestion'"),
        ("x.jsonl", '{"question":1,"values":2}', r"x\.jsonl:1: .*field 'values'.*rename"),
        ("x.jsonl", b'{"question":1}\n{"question":"\xff"}', r"x\.jsonl:2: is not UTF-8.*0xff"),
        ("x.jsonl", "\n \n", r"x\.jsonl has no rows"),
        ("x.json", "", r"x\.json has no rows"),
        ("x.json", "[]", r"x\.json has no rows"),
        ("x.json", '[{"question":1},\n{"question"}]', r"x\.json:2: is not JSON"),
        ("x.json", '{"question":1}\n{"question":2}', r"is not JSON.*\.jsonl"),
        ("x.json", '{"rows":[]}', "expected a list of objects, came an object .*rows"),
        ("x.json", '[{"question":1},2]', r"x\.json: item 2: expected an object.*came 2"),
        ("x.csv", "", r"x\.csv has no rows"),
        ("x.csv", "question,answer\n", r"x\.csv has no rows"),
        ("x.csv", "question,question\n1,2\n", r"x\.csv:1: the header has 'question' twice"),
        ("x.csv", 'question,b\n"1\n2",3\n4,5,6\n', r"x\.csv:4: expected 2 columns.*came 3"),
        ("x.csv", "question,b\n1\n", r"x\.csv:2: expected 2 columns.*came 1"),
        ("x.csv", 'question,b\n"1,2\n', r"x\.csv:2: is no row.*quotes"),
        ("x.csv", "Question,b\n1,2\n", r"x\.csv:2: .*did you mean 'Question'"),
        ("x.csv", b"question\nq\xe9\n", r"x\.csv:2: is not UTF-8"),
        ("x.txt", "question\n", r"x\.txt: expected a name that ends in \.jsonl"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    write: Write, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(name, content))


def test_required_fields_are_checked(write: Write) -> None:
    with pytest.raises(DataError, match=r"x\.jsonl:1: the row has no field 'answer'"):
        read(write("x.jsonl", '{"question":1}'), required=["answer"])


def test_limit_reads_no_further(write: Write) -> None:
    assert len(read(write("x.jsonl", '{"question":1}\nbroken'), limit=1)) == 1


def test_limit_must_be_positive(write: Write) -> None:
    with pytest.raises(DataError, match="limit must be 1 or more"):
        read(write("x.jsonl", '{"question":1}'), limit=0)


def test_fields_are_renamed_first(write: Write) -> None:
    path = write("x.jsonl", '{"values":1,"answer":2}')
    assert read(path, rename={"values": "question"})[0].to_json() == {"question": 1, "answer": 2}


def test_two_fields_can_change_places(write: Write) -> None:
    path = write("x.jsonl", '{"question":1,"answer":2}')
    swapped = read(path, rename={"question": "answer", "answer": "question"})
    assert swapped[0].to_json() == {"question": 2, "answer": 1}


def test_rename_of_an_unknown_field_is_an_error(write: Write) -> None:
    with pytest.raises(DataError, match=r"rename 'text' to 'x'.*no field 'text'"):
        read(write("x.jsonl", '{"question":1}'), rename={"text": "x"})


def test_rename_onto_another_field_is_an_error(write: Write) -> None:
    with pytest.raises(DataError, match="has a field of that name already"):
        read(write("x.jsonl", '{"question":1,"b":2}'), rename={"b": "question"})


def test_inputs_must_be_a_list(write: Write) -> None:
    with pytest.raises(DataError, match=r"inputs=\['question'\]"):
        read(write("x.jsonl", '{"question":1}'), inputs="question")


@pytest.mark.parametrize("source", ["missing.jsonl", "./missing", "a/b/c", "~/x.csv", Path("x")])
def test_a_path_that_does_not_exist_is_no_hub_name(source: str | Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(source)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)


def test_files_have_no_splits(write: Write) -> None:
    with pytest.raises(DataError, match="split='train' is for data sets on the hub"):
        read(write("x.jsonl", '{"question":1}'), split="train")


@pytest.mark.parametrize("source", ["squad", "x.parquet"])
def test_a_missing_package_is_named(
    write: Write, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    for name in ("datasets", "pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    path = str(write(source, b"")) if source.endswith("parquet") else source
    with pytest.raises(ConfigError, match=r"pip install 'lmpipe\[datasets\]'"):
        read(path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A stand-in for the datasets package; returns the calls that it got."""
    calls: list[tuple[Any, ...]] = []

    def load_dataset(name: str, config: str | None = None, split: str | None = None) -> Any:
        calls.append((name, config, split))
        if name == "unknown":
            raise FileNotFoundError("Dataset 'unknown' doesn't exist")
        splits = {"train": [{"question": "q1", "answer": "a1"}], "test": [{"question": "q2"}]}
        return splits if split is None else splits.get(split, splits["train"])

    monkeypatch.setitem(sys.modules, "datasets", fake("datasets", load_dataset=load_dataset))
    return calls


def fake(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(content)
    return module


@pytest.mark.parametrize(
    ("source", "options", "call"),
    [
        ("org/set:train", {}, ("org/set", None, "train")),
        ("org/set", {"split": "train"}, ("org/set", None, "train")),
        ("org/set:main", {"split": "main"}, ("org/set", None, "main")),
        ("org/set:main:train", {}, ("org/set", "main", "train")),
    ],
)
def test_hub_names_carry_config_and_split(
    hub: list[tuple[Any, ...]], source: str, options: dict[str, Any], call: tuple[Any, ...]
) -> None:
    read(source, **options)
    assert hub == [call]


def test_hub_rows_are_examples(hub: list[tuple[Any, ...]]) -> None:
    assert read("org/set:train") == [row("q1", "a1")]


def test_a_hub_row_without_a_field_is_named(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DataError, match=r"org/set:test: row 1: .*no field 'answer'"):
        read("org/set:test", required=["answer"])


def test_a_hub_set_needs_a_split(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DataError, match=r"which split of 'org/set'.*train, test"):
        read("org/set")


def test_two_splits_for_a_hub_set_contradict(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DataError, match="names the split 'train', split= says 'test'"):
        read("org/set:train", split="test")


def test_an_unknown_hub_set_is_a_data_error(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DataError, match="'unknown' cannot be loaded"):
        read("unknown")


class FakeParquetFile:
    def __init__(self, path: Path) -> None:
        if path.read_bytes() == b"broken":
            raise ValueError("magic bytes not found")

    def __enter__(self) -> FakeParquetFile:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def iter_batches(self) -> list[Any]:
        batches = [[{"question": "q1", "answer": "a1"}], [{"question": "q2", "answer": "a2"}]]
        return [SimpleNamespace(to_pylist=lambda batch=batch: batch) for batch in batches]


@pytest.fixture
def parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake("pyarrow.parquet", ParquetFile=FakeParquetFile)
    monkeypatch.setitem(sys.modules, "pyarrow", fake("pyarrow", parquet=module))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", module)


@pytest.mark.usefixtures("parquet")
def test_parquet_rows_are_examples(write: Write) -> None:
    assert read(write("x.parquet", b"")) == ROWS


@pytest.mark.usefixtures("parquet")
def test_broken_parquet_is_a_data_error(write: Write) -> None:
    with pytest.raises(DataError, match=r"x\.parquet: cannot be read as Parquet: magic"):
        read(write("x.parquet", b"broken"))


def test_the_real_parquet_reader_agrees(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    writer = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    writer.write_table(pyarrow.Table.from_pylist([dict(one.values) for one in ROWS]), path)
    assert read(path) == ROWS


def test_the_fingerprint_depends_on_the_order() -> None:
    assert fingerprint(ROWS) != fingerprint(ROWS[::-1])


def test_the_fingerprint_depends_on_the_inputs() -> None:
    assert fingerprint(ROWS) != fingerprint([one.with_inputs("answer") for one in ROWS])


def test_the_fingerprint_is_repeatable() -> None:
    assert fingerprint(ROWS) == fingerprint([row("q1", "a1"), row("q2", "a2")])


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="val has no rows"):
        check_not_empty("val", [])


def test_disjoint_splits_pass() -> None:
    check_disjoint(train=rows(3), val=[row("other")], test=[])


def test_shared_rows_are_named() -> None:
    train, test = rows(4), [row("x"), row("q2", "another answer"), row("q3")]
    with pytest.raises(DataError, match=r"train and test share 2 rows.*row 3 of train and row 2"):
        check_disjoint(train=train, val=[row("y")], test=test)


def test_distinct_keeps_the_first_of_equal_inputs() -> None:
    assert distinct_examples([row("q1", "a1"), row("q2", "a2"), row("q1", "a3")]) == ROWS


def test_a_shuffle_is_a_permutation() -> None:
    assert set(shuffled(rows(20), 1)) == set(rows(20))


def test_a_shuffle_depends_on_the_seed_alone() -> None:
    assert (shuffled(rows(20), 1) == shuffled(rows(20), 1), shuffled(rows(20), 1)[:3]) == (
        True,
        [row("q11"), row("q5"), row("q17")],
    )


def test_other_seeds_shuffle_otherwise() -> None:
    assert shuffled(rows(20), 1) != shuffled(rows(20), 2)


def test_sizes_are_exact_and_the_rest_is_left_out() -> None:
    assert [len(part) for part in split(rows(10), sizes=(3, 4), seed=0)] == [3, 4]


@given(st.integers(4, 60), st.integers(0, 5))
def test_fractions_that_sum_to_one_use_every_row_once(count: int, seed: int) -> None:
    parts = split(rows(count), fractions=(0.3, 0.3, 0.4), seed=seed)
    assert sorted(one.question for part in parts for one in part) == sorted(
        one.question for one in rows(count)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of the two"),
        ({"sizes": (1,), "fractions": (0.5,)}, "one of the two"),
        ({"sizes": (8, 3)}, "ask for 11 rows, there are 10"),
        ({"sizes": (8, 0)}, "each value of sizes must be 1 or more"),
        ({"sizes": ()}, "sizes must be a tuple of 1 or more"),
        ({"fractions": (0.8, 0.3)}, "at most 1"),
        ({"fractions": (0.99, 0.01)}, "each part needs a row"),
    ],
)
def test_impossible_splits_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(rows(10), **options, seed=0)
