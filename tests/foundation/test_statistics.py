"""Confidence intervals and the selection-bias correction."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lmpipe.errors import InputError
from lmpipe.foundation.statistics import (
    Interval,
    mean_interval,
    out_of_bag_estimate,
    paired_interval,
    t_quantile,
    two_sample_interval,
)

scores = st.lists(st.floats(0, 1), min_size=1, max_size=40)
differences = st.lists(st.floats(-1, 1), min_size=1, max_size=40)


# From printed tables; with more digits from the closed forms for 1, 2 and 4 degrees of freedom.
@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [
        (0.975, 1, math.tan(math.pi * 0.475)),
        (0.975, 2, 4.302652729749),
        (0.975, 3, 3.182446305284),
        (0.975, 5, 2.570581835636),
        (0.95, 10, 1.812461122812),
        (0.975, 10, 2.228138851986),
        (0.995, 10, 3.169272672617),
        (0.9995, 10, 4.586893858703),
        (0.975, 30, 2.042272456301),
        (0.9, 30, 1.310415025391),
        (0.975, 100, 1.983971518524),
        (0.975, 10**6, 1.959966356766),
    ],
)
def test_t_quantiles_match_the_tables(probability: float, degrees: int, expected: float) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-8)


@given(st.floats(0.001, 0.999))
def test_t_with_two_degrees_has_a_closed_form(probability: float) -> None:
    odds = 2 * probability - 1
    expected = odds * math.sqrt(2 / (1 - odds * odds))
    assert t_quantile(probability, 2) == pytest.approx(expected, abs=1e-9, rel=1e-9)


@given(st.floats(0.51, 0.999), st.integers(1, 500))
def test_t_is_symmetric(probability: float, degrees: int) -> None:
    assert t_quantile(1 - probability, degrees) == pytest.approx(
        -t_quantile(probability, degrees), rel=1e-9
    )


@pytest.mark.parametrize(("probability", "degrees"), [(0, 5), (1, 5), (0.5, 0)])
def test_t_rejects_arguments_outside_its_domain(probability: float, degrees: int) -> None:
    with pytest.raises(InputError, match="t_quantile"):
        t_quantile(probability, degrees)


# Newcombe 1998.
@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_scores_of_0_and_1_get_wilsons_interval(
    right: int, total: int, low: float, high: float
) -> None:
    interval = mean_interval([1.0] * right + [0.0] * (total - right))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


def test_other_scores_get_students_interval() -> None:
    interval = mean_interval([0.2, 0.4, 0.6])  # mean 0.4, standard error 0.2 / sqrt(3)
    half = 4.302652729749 * 0.2 / math.sqrt(3)
    assert (interval.low, interval.high) == pytest.approx((max(0, 0.4 - half), 0.4 + half))


def test_equal_scores_still_have_a_wide_interval() -> None:
    assert mean_interval([0.5] * 10).width > 0.4


@given(scores)
def test_the_interval_contains_the_mean_and_stays_in_range(values: list[float]) -> None:
    interval = mean_interval(values)
    mean = math.fsum(values) / len(values)
    assert 0 <= interval.low <= mean + 1e-12
    assert mean - 1e-12 <= interval.high <= 1


@given(scores, st.integers(2, 5))
def test_more_of_the_same_rows_narrow_the_interval(values: list[float], times: int) -> None:
    assume(len(values) > 1)
    assert mean_interval(values * times).width <= mean_interval(values).width + 1e-12


@given(scores)
def test_more_confidence_widens_the_interval(values: list[float]) -> None:
    assert mean_interval(values, 0.99).width >= mean_interval(values, 0.9).width - 1e-12


@given(scores)
def test_mirrored_scores_mirror_the_interval(values: list[float]) -> None:
    values = [round(value, 6) for value in values]
    interval, mirrored = mean_interval(values), mean_interval([1 - value for value in values])
    assert (mirrored.low, mirrored.high) == pytest.approx(
        (1 - interval.high, 1 - interval.low), abs=1e-9
    )


@given(scores)
def test_the_order_of_the_rows_does_not_matter(values: list[float]) -> None:
    assert mean_interval(values[::-1]) == mean_interval(values)


def test_paired_differences_get_students_interval() -> None:
    interval = paired_interval([0.0, 0.5, 0.1, 0.2])  # mean 0.2, variance 0.14 / 3
    half = 3.182446305284 * math.sqrt(0.14 / 3 / 4)
    assert (interval.low, interval.high) == pytest.approx((0.2 - half, 0.2 + half))


def test_one_row_gives_the_whole_range() -> None:
    assert paired_interval([0.5]) == Interval(-1, 1)


def test_no_difference_on_any_row_gives_an_interval_of_0() -> None:
    assert paired_interval([0.0] * 7) == Interval(0, 0)


def test_two_flipped_rows_do_not_exclude_0() -> None:
    assert 0 in paired_interval([1.0, 1.0])


def test_many_flipped_rows_exclude_0() -> None:
    assert paired_interval([1.0] * 20).low > 0.5


@given(differences)
def test_the_paired_interval_contains_the_mean(values: list[float]) -> None:
    interval = paired_interval(values)
    mean = math.fsum(values) / len(values)
    assert -1 <= interval.low <= mean + 1e-12
    assert mean - 1e-12 <= interval.high <= 1


@given(differences)
def test_swapping_old_and_new_mirrors_the_interval(values: list[float]) -> None:
    interval, mirrored = paired_interval(values), paired_interval([-value for value in values])
    assert (mirrored.low, mirrored.high) == pytest.approx(
        (-interval.high, -interval.low), abs=1e-12
    )


@given(differences, st.integers(2, 5))
def test_more_rows_narrow_the_paired_interval(values: list[float], times: int) -> None:
    assert paired_interval(values * times).width <= paired_interval(values).width + 1e-12


@pytest.mark.parametrize(
    ("values", "confidence", "message"),
    [
        ([], 0.95, "at least one value"),
        ([0.5, 1.5], 0.95, "got 1.5"),
        ([0.5, math.nan], 0.95, "got nan"),
        ([0.5], 95, "confidence is 95"),
    ],
)
def test_invalid_values_are_rejected(values: list[float], confidence: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mean_interval(values, confidence)


def test_an_interval_prints_three_decimals() -> None:
    assert str(Interval(0.12345, 0.5)) == "[0.123, 0.500]"


# Newcombe 1998, table II, method 10.
@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_two_samples_get_newcombes_interval(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    one, other = ([1.0] * right + [0.0] * (total - right) for right, total in (first, second))
    interval = two_sample_interval(one, other)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


@given(scores, scores)
def test_swapping_two_samples_mirrors_the_interval(one: list[float], two: list[float]) -> None:
    interval, mirrored = two_sample_interval(one, two), two_sample_interval(two, one)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low), abs=1e-9)
    assert -1 <= interval.low <= interval.high <= 1


tables = st.integers(1, 12).flatmap(
    lambda rows: st.lists(
        st.lists(st.floats(0, 1), min_size=rows, max_size=rows), min_size=1, max_size=6
    )
)


@given(tables, st.integers(0, 99))
def test_the_corrected_score_is_in_range(table: list[list[float]], seed: int) -> None:
    assert 0 <= out_of_bag_estimate(table, seed=seed, resamples=20) <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 99))
def test_a_single_candidate_needs_no_correction(values: list[float], seed: int) -> None:
    estimate = out_of_bag_estimate([values], seed=seed, resamples=20)
    assert estimate == pytest.approx(math.fsum(values) / len(values))


def plain_out_of_bag(table: list[list[float]], *, seed: int, resamples: int) -> float:
    """The estimate as it is defined, one row after another."""
    winner = max(table, key=math.fsum)
    rows, rng, shifts = len(winner), random.Random(seed), []
    for _ in range(resamples):
        drawn = rng.choices(range(rows), k=rows)
        counts = [drawn.count(row) for row in range(rows)]
        totals = [0.0] * len(table)
        for row, count in enumerate(counts):
            totals = [t + count * scores[row] for t, scores in zip(totals, table, strict=True)]
        chosen = table[totals.index(max(totals))]
        left = [chosen[row] - winner[row] for row in range(rows) if not counts[row]]
        if left:
            shifts.append(math.fsum(left) / len(left))
    mean = min(max(math.fsum(winner) / rows, min(winner)), max(winner))
    return min(1.0, max(0.0, mean + math.fsum(shifts) / max(1, len(shifts))))


@given(tables, st.integers())
def test_the_correction_equals_its_plain_definition(table: list[list[float]], seed: int) -> None:
    expected = plain_out_of_bag(table, seed=seed, resamples=20)
    assert out_of_bag_estimate(table, seed=seed, resamples=20) == expected


def test_a_large_search_is_corrected_to_the_same_value_as_always() -> None:
    rng = random.Random(5)
    table = [[rng.choice([0.0, 0.1, 1 / 3, 0.7, 1.0]) for _ in range(1000)] for _ in range(40)]
    assert out_of_bag_estimate(table, seed=0) == 0.41435899799276876


def test_the_best_of_equally_good_candidates_is_corrected_to_their_true_score() -> None:
    rng = random.Random(0)
    observed, estimated = [], []
    for world in range(60):
        table = [[float(rng.random() < 0.6) for _ in range(40)] for _ in range(10)]
        observed.append(max(map(sum, table)) / 40)
        estimated.append(out_of_bag_estimate(table, seed=world, resamples=100))
    assert sum(observed) / 60 > 0.68
    assert sum(estimated) / 60 == pytest.approx(0.6, abs=0.03)


def test_a_clear_winner_is_hardly_corrected() -> None:
    table = [[0.0] * 40, [1.0] * 36 + [0.0] * 4]
    assert out_of_bag_estimate(table, seed=0) == pytest.approx(0.9)


@pytest.mark.parametrize("table", [[], [[]], [[1.0], [1.0, 0.0]]])
def test_a_correction_needs_all_candidates_on_the_same_rows(table: list[list[float]]) -> None:
    with pytest.raises(InputError, match="same rows"):
        out_of_bag_estimate(table, seed=0)
