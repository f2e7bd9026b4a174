"""The compile-cost benchmark: how it counts, how it reports, and that it runs."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the benchmark like the benchmark does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def proxy() -> Iterator[tuple[FakeServer, str]]:
    """A fake server, and the address of a counting proxy for it."""
    with FakeServer("hash") as server:
        command = [sys.executable, "-m", "compiling.proxy", server.base_url]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=BENCHMARKS
        ) as process:
            assert process.stdout is not None
            yield server, f"http://127.0.0.1:{int(process.stdout.readline())}"
            process.terminate()


def ask(address: str) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_proxy_counts_each_client_separately(rooms: Any, proxy: tuple[FakeServer, str]) -> None:
    _, address = proxy
    meter = rooms("compiling.meter").Meter
    for name in ("a", "a", "b"):
        assert ask(f"{address}/{name}") == 200
    spent = meter(f"{address}/a/v1").read() - meter(f"{address}/nobody/v1").read()
    assert (spent.calls, meter(f"{address}/b/v1").read().calls) == (2, 1)
    assert spent.prompt_tokens > 0
    assert spent.completion_tokens > 0


def test_a_refused_request_is_forwarded_and_does_not_count_as_a_call(
    rooms: Any, proxy: tuple[FakeServer, str]
) -> None:
    server, address = proxy
    server.fail(1, "503")
    assert ask(f"{address}/a") == 503
    spent = rooms("compiling.meter").Meter(f"{address}/a/v1").read()
    assert (spent.calls, spent.refused) == (0, 1)


def test_an_unavailable_server_is_answered_with_502_and_does_not_count_as_a_call(
    rooms: Any,
) -> None:
    command = [sys.executable, "-m", "compiling.proxy", "http://127.0.0.1:9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=BENCHMARKS) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        assert ask(f"{address}/a") == 502
        assert rooms("compiling.meter").Meter(f"{address}/a/v1").read().refused == 1
        process.terminate()


def test_a_seed_shuffles_only_the_training_rows(rooms: Any, tmp_path: Path) -> None:
    tasks = rooms("compiling.tasks")
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": str(number), "label": "a"}) for number in range(520)]
    file.write_text("\n".join(lines), encoding="utf-8")
    rows = tasks.read_rows("intents7", [file])
    assert [len(part) for part in (rows.train, rows.val, rows.test)] == [200, 100, 200]
    shuffled = rows.shuffled(1)
    assert shuffled.train != rows.train
    assert sorted(shuffled.train, key=lambda row: int(row["text"])) == rows.train
    assert (shuffled.val, shuffled.test) == (rows.val, rows.test)
    assert rows.shuffled(0) == rows


def result(rooms: Any, side: str, calls: int, **changes: Any) -> Any:
    spent = rooms("compiling.meter").Spent
    values: dict[str, Any] = {
        "side": side,
        "task": "intents7",
        "optimizer": "mipro",
        "seed": 0,
        "settings": {"given": {}},
        "status": "done",
        "search": spent(calls=calls, prompt_tokens=100 * calls, seconds=10.0),
        "test": spent(calls=4, prompt_tokens=400),
        "curve": [(calls // 2, 40.0), (calls, 50.0)],
        "test_rows": [1.0, 0.0, 1.0, 1.0],
    }
    return rooms("compiling.side").Result(**{**values, **changes})


def test_lines_are_means_over_runs_with_ratios_to_the_counterpart(rooms: Any) -> None:
    done = [
        result(rooms, "dspy", 1000),
        result(rooms, "lmpipe", 100),
        result(rooms, "lmpipe", 300, seed=1, test_rows=[1.0, 1.0, 1.0, 1.0], curve=[(300, 70.0)]),
    ]
    dspy, lmpipe = rooms("compiling.report").lines_of(done)
    assert (lmpipe.runs, lmpipe.search.calls, lmpipe.of_dspy) == (2, 200, 0.2)
    assert (lmpipe.test, lmpipe.val) == (87.5, 60.0)
    assert lmpipe.low < 87.5 < lmpipe.high
    assert (dspy.of_dspy, dspy.test) == (None, 75.0)


def test_an_unfinished_compile_is_reported_with_its_spend(rooms: Any) -> None:
    report = rooms("compiling.report")
    broken = result(rooms, "dspy", 60, status="ended by AdapterParseError: no", test_rows=[])
    lines = report.lines_of([broken, result(rooms, "lmpipe", 100)])
    assert (lines[0].test, lines[0].search.calls, lines[0].runs) == (None, 60, 0)
    # An unfinished compile is not used for ratios.
    assert lines[1].of_dspy is None
    text = report.table(lines)
    assert "intents7, dspy's mipro: ended by AdapterParseError: no" in text
    assert text.splitlines()[0].startswith("| task")


def test_results_are_written_to_json_and_read_back(rooms: Any, tmp_path: Path) -> None:
    report = rooms("compiling.report")
    results = [result(rooms, "dspy", 1000), result(rooms, "lmpipe", 100)]
    report.write_json(tmp_path / "out.json", results, {"note": "n"})
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [line["of_dspy"] for line in found["lines"]] == [None, 0.1]
    (tmp_path / "one.json").write_text(json.dumps(found["compiles"][0]), encoding="utf-8")
    assert report.read_result(tmp_path / "one.json") == results[0]


def test_the_plot_shows_the_best_score_so_far_of_each_compile(rooms: Any) -> None:
    plot = rooms("compiling.plot")
    falls = result(rooms, "dspy", 900, curve=[(100, 30.0), (200, 20.0), (400, 45.0)])
    assert plot.best_so_far(falls).points == ((100, 30.0), (400, 45.0), (900, 45.0))
    drawn = ET.fromstring(plot.plot([falls, result(rooms, "lmpipe", 100), nothing(rooms)]))
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}path"))) == 2
    assert "dspy mipro: 45 % in 900 calls" in "".join(drawn.itertext())


def nothing(rooms: Any) -> Any:
    return result(rooms, "dspy", 0, optimizer="knn", curve=[])


def test_a_plot_without_results_is_empty(rooms: Any) -> None:
    assert ET.fromstring(rooms("compiling.plot").plot([])).tag.endswith("svg")


def test_a_tiny_run_writes_a_table_the_json_and_the_plot(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with FakeServer("classify:billing,shipping,returns") as server:
        done = subprocess.run(
            [
                sys.executable, str(BENCHMARKS / "compile_cost.py"), "--url", server.base_url,
                "--only=lmpipe-tickets-knn", "--results", str(tmp_path / "results"),
                "--json", str(out),
            ],
            check=False,
            capture_output=True,
            text=True,
        )  # fmt: skip
        calls = server.stats()["ok"]
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    (one,) = found["compiles"]
    assert one["status"] == "done"
    assert one["search"]["calls"] + one["test"]["calls"] == calls
    assert len(one["test_rows"]) == 100
    assert "tickets" in done.stdout
    assert out.with_suffix(".svg").exists()


def test_a_line_has_the_calls_until_the_score_of_the_counterpart_was_reached(rooms: Any) -> None:
    side, report, spent = (
        rooms("compiling.side"),
        rooms("compiling.report"),
        rooms("compiling.meter"),
    )

    def compiled(who: str, curve: list[tuple[int, float]]) -> Any:
        made = side.Result(who, "tickets", "knn", 0, {}, status="done", curve=curve)
        made.search, made.test_rows = spent.Spent(calls=curve[-1][0]), [1.0, 0.0]
        return made

    ours = compiled("lmpipe", [(10, 20.0), (30, 50.0), (60, 70.0)])
    theirs = compiled("dspy", [(100, 30.0), (200, 45.0)])
    lines = {line.side: line for line in report.lines_of([ours, theirs])}
    assert (lines["lmpipe"].reached, lines["dspy"].reached) == (30, None)
    never = {line.side: line for line in report.lines_of([compiled("lmpipe", [(9, 1.0)]), theirs])}
    assert never["lmpipe"].reached is None
