"""Reading rows from every format, and the errors for invalid ones."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import orjson
import pytest
from helpers.rows import ROWS, Write, read, row
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError, DataError


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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"question":"q","answer":%d}'),
        ("rows.json", '[{"question":"q","answer":%d}]'),
    ],
)
@pytest.mark.parametrize("number", [2**64, 2**64 + 1, -(2**63) - 1, 10**400])
def test_whole_numbers_of_any_size_keep_their_digits(
    write: Write, name: str, content: str, number: int
) -> None:
    [example] = read(write(name, content % number))
    assert example.answer == number
    assert type(example.answer) is int


def test_csv_values_may_contain_separators_quotes_and_line_breaks(write: Write) -> None:
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
def test_jsonl_returns_the_values_that_were_written(values: list[dict[str, Any]]) -> None:
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
        ("x.jsonl", b'{"question":1}\n{"question":"\xff"}', r"x\.jsonl:2: is not UTF-8.*0xff"),
        ("x.jsonl", "\n \n", r"x\.jsonl has no rows"),
        ("x.json", "", r"x\.json has no rows"),
        ("x.json", "[]", r"x\.json has no rows"),
        ("x.json", '[{"question":1},\n{"question"}]', r"x\.json:2: is not JSON"),
        ("x.json", '{"question":1}\n{"question":2}', r"is not JSON.*\.jsonl"),
        ("x.json", '{"rows":[]}', "expected a list of objects, got an object .*rows"),
        ("x.json", '[{"question":1},2]', r"x\.json: item 2: expected an object.*got 2"),
        ("x.csv", "", r"x\.csv has no rows"),
        ("x.csv", "question,answer\n", r"x\.csv has no rows"),
        ("x.csv", "question,question\n1,2\n", r"x\.csv:1: the header has 'question' twice"),
        ("x.csv", 'question,b\n"1\n2",3\n4,5,6\n', r"x\.csv:4: expected 2 columns.*got 3"),
        ("x.csv", "question,b\n1\n", r"x\.csv:2: expected 2 columns.*got 1"),
        ("x.csv", 'question,b\n"1,2\n', r"x\.csv:2: is not a valid .csv row.*quotes"),
        ("x.csv", "Question,b\n1,2\n", r"x\.csv:2: .*did you mean 'Question'"),
        ("x.csv", b"question\nq\xe9\n", r"x\.csv:2: is not UTF-8"),
        ("x.txt", "question\n", r"x\.txt: expected a name that ends in \.jsonl"),
    ],
)
def test_errors_name_the_problem_and_its_place(
    write: Write, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(name, content))


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
    """A fake package datasets; the value is the list of calls that it received."""
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
def test_hub_names_can_contain_config_and_split(
    hub: list[tuple[Any, ...]], source: str, options: dict[str, Any], call: tuple[Any, ...]
) -> None:
    read(source, **options)
    assert hub == [call]


def test_hub_rows_become_examples(hub: list[tuple[Any, ...]]) -> None:
    assert read("org/set:train") == [row("q1", "a1")]


def test_a_hub_row_without_a_field_is_named_in_the_error(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DataError, match=r"org/set:test: row 1: .*no field 'answer'"):
        read("org/set:test", required=["answer"])


def test_a_hub_set_with_several_splits_needs_one(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DataError, match=r"'org/set' has several splits: .*train, test"):
        read("org/set")


def test_two_different_splits_of_a_hub_set_are_rejected(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DataError, match="names the split 'train', but split= is 'test'"):
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
def test_parquet_rows_become_examples(write: Write) -> None:
    assert read(write("x.parquet", b"")) == ROWS


@pytest.mark.usefixtures("parquet")
def test_broken_parquet_is_a_data_error(write: Write) -> None:
    with pytest.raises(DataError, match=r"x\.parquet: cannot be read as Parquet: magic"):
        read(write("x.parquet", b"broken"))


def test_pyarrow_reads_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    writer = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    writer.write_table(pyarrow.Table.from_pylist([dict(one.values) for one in ROWS]), path)
    assert read(path) == ROWS


def test_a_cell_of_a_csv_file_may_be_of_any_length(write: Write) -> None:
    long = "x" * 200_000
    (row,) = read(write("x.csv", f"question,answer\n{long},a\n"), inputs=["question"])
    assert row.question == long
