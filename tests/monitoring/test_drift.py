"""Whether served inputs leave those of the compile: found if they do, and rarely if not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lmpipe.errors import ArtifactError
from lmpipe.monitoring.drift import Counted, Drift, exceedance_probability, find_drift
from lmpipe.monitoring.input_profile import INPUTS, InputProfile, Limit
from lmpipe.monitoring.served_inputs import SERVED, ServedInputs, drift_of
from lmpipe.signatures.field_types.media import Image

Row = dict[str, Any]
PICTURE = Image(data=b"\x89PNG\r\n\x1a\n", media_type="image/png")


def usual(rng: random.Random) -> Row:
    """Make the inputs of a compile: words of a heavy-tailed distribution, and a number."""
    ranks = (min(5_000, int(rng.paretovariate(0.9))) for _ in range(rng.randint(3, 40)))
    return {"message": " ".join(f"w{rank}" for rank in ranks), "price": rng.gauss(20, 5)}


def other_words(rng: random.Random) -> Row:
    return {**usual(rng), "message": f"new{rng.randint(0, 10**6)} " + usual(rng)["message"] * 2}


def another_topic(rng: random.Random) -> Row:
    row = usual(rng)
    return {**row, "message": row["message"].replace("w", "other")}


def longer(rng: random.Random) -> Row:
    row = usual(rng)
    return {**row, "message": " ".join([row["message"]] * 12)}


def dearer(rng: random.Random) -> Row:
    return {**usual(rng), "price": rng.gauss(40, 5)}


def counts_of(profile: InputProfile, rows: Sequence[Row]) -> dict[str, Counted]:
    found: dict[str, Counted] = {}
    for row in rows:
        for name, exceeds in profile.exceeded(row).items():
            found[name] = found.get(name, Counted()) + Counted(1, int(exceeds))
    return found


def drift_after(
    serve: Callable[[random.Random], Row], *, rows: int = 100, served: int = 200, seed: int = 0
) -> Drift | None:
    rng = random.Random(seed)
    profile = InputProfile.of([usual(rng) for _ in range(rows)])
    return find_drift(profile, counts_of(profile, [serve(rng) for _ in range(served)]))


@pytest.mark.parametrize(
    ("serve", "field", "kind"),
    [
        (another_topic, "message", "words"),
        (longer, "message", "length"),
        (dearer, "price", "number"),
    ],
)
def test_inputs_that_leave_those_of_the_compile_are_found(
    serve: Callable[[random.Random], Row], field: str, kind: str
) -> None:
    drift = drift_after(serve)
    assert drift is not None
    assert (drift.field, drift.kind) == (field, kind)
    assert drift.share > 5 * drift.expected
    assert "of 200 served inputs have" in str(drift)
    assert f"`{field}`" in str(drift)


def test_a_part_of_the_inputs_is_enough() -> None:
    def some(rng: random.Random) -> Row:
        return another_topic(rng) if rng.random() < 0.25 else usual(rng)

    assert drift_after(some, rows=200, served=300) is not None


def test_inputs_like_those_of_the_compile_are_no_drift() -> None:
    alarms = [
        drift_after(usual, rows=rows, served=150, seed=seed)
        for rows in (20, 80)
        for seed in range(40)
    ]
    assert not any(alarms)


def test_the_probability_of_a_false_alarm_is_what_it_says() -> None:
    """With numbers, many worlds are cheap: in 5 % of them the probability is 0.05 or less."""
    trials, low = 1_500, 0
    for seed in range(trials):
        rng = random.Random(seed)
        profile = InputProfile.of([{"price": rng.gauss(0, 1)} for _ in range(30)])
        counts = counts_of(profile, [{"price": rng.gauss(0, 1)} for _ in range(60)])
        limit = profile.limits["price number"]
        low += exceedance_probability(limit, counts["price number"]) <= 0.05
    # The bound is 75; three standard deviations of a binomial count above it.
    assert low <= 75 + 25


@pytest.mark.parametrize(
    ("rows", "above", "served", "exceeding", "expected"),
    [
        (1, 1, 1, 1, 1 / 2),  # one of two is the higher one
        (2, 1, 1, 1, 1 / 3),
        (19, 1, 1, 1, 1 / 20),
        (1, 1, 2, 2, 1 / 3),  # of three, the first is the lowest
        (30, 1, 50, 0, 1.0),
    ],
)
def test_the_probability_is_exact(
    rows: int, above: int, served: int, exceeding: int, expected: float
) -> None:
    limit = Limit("number", 0.0, 1.0, above, rows)
    found = exceedance_probability(limit, Counted(served, exceeding))
    assert found == pytest.approx(expected)


def test_many_inputs_are_counted_in_a_moment() -> None:
    limit = Limit("words", 0.0, 0.5, 6, 120)
    assert exceedance_probability(limit, Counted(10**9, 10**8)) < 0.02


def test_a_share_below_twice_the_expected_one_is_no_drift() -> None:
    profile = InputProfile({"price number": Limit("number", 0.0, 1.0, 100, 1_999)}, {})
    assert find_drift(profile, {"price number": Counted(10_000, 990)}) is None
    assert find_drift(profile, {"price number": Counted(10_000, 1_100)}) is not None


def test_few_rows_have_no_limits() -> None:
    assert not InputProfile.of([{"message": "a"}] * 19).limits


def test_fields_without_text_are_left_out() -> None:
    profile = InputProfile.of([{"image": b"\x00", "choice": "a", "note": None}] * 30)
    assert profile.fields == {"choice"}


@pytest.mark.parametrize(
    "value",
    [
        PICTURE,
        [PICTURE],
        PICTURE.to_json(),
        {"shown": [PICTURE.to_json()], "title": "a parcel"},
        object(),
    ],
)
def test_media_and_what_has_no_json_are_left_out(value: object) -> None:
    assert not InputProfile.of([{"picture": value}] * 30).limits


@pytest.mark.parametrize("value", [10**400, [2**70], ["\ud800 torn"], {"data": "a table"}])
def test_values_that_are_hard_to_write_are_compared_as_text(value: object) -> None:
    profile = InputProfile.of([{"given": value}] * 30)
    assert profile.limits.keys() == {"given words", "given length"}
    assert not any(profile.exceeded({"given": value}).values())


def test_a_profile_is_bounded_and_has_no_words(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [
        {"message": " ".join(f"secret{rng.randint(0, 10**9)}" for _ in range(30))}
        for _ in range(3_000)
    ]
    InputProfile.of(rows).write(tmp_path)
    data = (tmp_path / INPUTS).read_bytes()
    assert len(data) < 100_000
    assert b"secret" not in data
    again = InputProfile.read(tmp_path)
    assert again is not None
    assert again.exceeded(rows[0]) == InputProfile.of(rows).exceeded(rows[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder that says what its inputs were like."""
    rng = random.Random(0)
    InputProfile.of([usual(rng) for _ in range(100)]).write(tmp_path)
    return tmp_path


def serve_into(folder: Path, serve: Callable[[random.Random], Row], count: int = 150) -> None:
    seen = ServedInputs.of(folder)
    assert seen is not None
    rng = random.Random(1)
    for _ in range(count):
        seen.see(serve(rng))
    seen.write()


def test_served_inputs_are_counted_in_the_run_folder_and_not_kept(folder: Path) -> None:
    serve_into(folder, another_topic)
    assert drift_of(folder) is not None
    assert "other" not in (folder / SERVED).read_text()


def test_a_run_that_was_not_served_has_no_drift(folder: Path, tmp_path: Path) -> None:
    assert drift_of(folder) is None


def test_a_folder_of_an_older_version_is_not_counted(tmp_path: Path) -> None:
    assert ServedInputs.of(tmp_path) is None


def test_several_processes_add_to_the_same_counts(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: serve_into(folder, usual, 50), range(4)))
    (day,) = json.loads((folder / SERVED).read_text())["days"].values()
    assert day["message words"][0] == 200


def test_only_the_last_days_are_kept_and_the_last_week_counts(folder: Path) -> None:
    serve_into(folder, another_topic)
    written = json.loads((folder / SERVED).read_text())
    ((_, bad),) = written["days"].items()
    good = {name: [150, 0] for name in bad}
    days = {f"2020-01-{day:02}": bad for day in range(1, 25)}
    days |= {f"2020-02-{day:02}": good for day in range(1, 8)}
    (folder / SERVED).write_text(json.dumps({"format": 1, "days": days}))
    assert drift_of(folder) is None
    serve_into(folder, usual)
    assert len(json.loads((folder / SERVED).read_text())["days"]) == 30


@pytest.mark.parametrize(
    "days", ['{"d": {"price number": [3, 5]}}', '{"d": {"price number": [1e400, 1]}}', "[]"]
)
def test_damaged_counts_are_named(folder: Path, days: str) -> None:
    (folder / SERVED).write_text(f'{{"days": {days}}}')
    with pytest.raises(ArtifactError, match=SERVED):
        drift_of(folder)


@pytest.mark.parametrize(
    "changes", [{"rows": "many"}, {"rows": -5}, {"above": 0}, {"kind": "colour"}, {"middle": None}]
)
def test_a_damaged_profile_is_named(folder: Path, changes: dict[str, Any]) -> None:
    written = json.loads((folder / INPUTS).read_text())
    written["limits"]["price number"] |= changes
    (folder / INPUTS).write_text(json.dumps(written))
    with pytest.raises(ArtifactError, match=INPUTS):
        InputProfile.read(folder)


@pytest.mark.parametrize("text", ['{"format": 9}', '{"format": 1, "limits": [], "words": {}}', "["])
def test_a_profile_of_another_form_is_named(folder: Path, text: str) -> None:
    (folder / INPUTS).write_text(text)
    with pytest.raises(ArtifactError, match="without the file, served inputs are not compared"):
        InputProfile.read(folder)
