"""The test of a change: gains count against the losses that were seen."""

from __future__ import annotations

import random

import pytest

from lmpipe.optimize.shared.paired_test import Pair, PairedTest, at_least, net_gains, sign_test

GAIN, LOSS, SAME = (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)
USUAL = [0.0, 1.0] * 10


def test_where_nothing_is_ever_lost_one_gain_is_enough() -> None:
    test = PairedTest(0.1)
    test.learn([SAME] * 50, USUAL)
    assert test.helps([GAIN, (0.0, 0.0), (0.0, 0.0)], USUAL)


def test_where_answers_flicker_one_gain_is_not() -> None:
    test = PairedTest(0.1)
    test.learn([SAME] * 40 + [LOSS] * 10, USUAL)
    assert not test.helps([GAIN, (0.0, 0.0), (0.0, 0.0)], USUAL)


def test_as_many_losses_as_gains_do_not_help() -> None:
    assert not PairedTest(0.5).helps([GAIN, LOSS], usual=[0.5])


def test_net_gains_are_the_gains_without_the_losses() -> None:
    assert net_gains([GAIN, GAIN, LOSS, SAME]) == 1


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([GAIN] * 3 + [SAME] * 5, 1 / 8),
        ([GAIN, GAIN, LOSS], 1 / 2),
        ([SAME], 1),
    ],
)
def test_unchanged_scores_do_not_count_in_the_sign_test(pairs: list[Pair], expected: float) -> None:
    assert sign_test(pairs) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("count", "of", "chance", "expected"), [(1, 3, 0.5, 0.875), (0, 4, 0.2, 1)]
)
def test_the_probability_of_so_many_successes(
    count: int, of: int, chance: float, expected: float
) -> None:
    assert at_least(count, of, chance) == pytest.approx(expected)


@pytest.mark.parametrize("flicker", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("levels", [(0.5,), (0.0, 0.5), (0.0, 0.9)], ids=str)
def test_a_change_that_does_nothing_is_rarely_taken_for_a_gain(
    levels: tuple[float, ...], flicker: float
) -> None:
    """Examples are chosen because they went wrong, and each prompt flips some answers.

    What was learned while a program was at the first levels is used at the last one.
    """
    rng = random.Random(0)
    test, taken = PairedTest(0.1), 0
    for level in levels:
        truth = [rng.random() < level for _ in range(60)]

        def answers(truth: list[bool] = truth) -> list[float]:
            return [float(right != (rng.random() < flicker)) for right in truth]

        taken = 0
        for _ in range(400):
            before, after, usual = answers(), answers(), answers()
            wrong = [index for index, score in enumerate(before) if score < 1]
            chosen = rng.sample(wrong, min(3, len(wrong)))
            pairs: list[Pair] = [(before[index], after[index]) for index in chosen]
            taken += test.helps(pairs, usual)
            test.learn(list(zip(answers(), answers(), strict=True))[:6], usual)
    assert taken / 400 <= 0.2


def test_what_was_learned_of_a_weak_program_does_not_hold_back_a_better_one() -> None:
    """What a weak program has right it has by luck, and loses it with most changes."""
    test = PairedTest(0.1)
    test.learn([(1.0, 0.0)] * 8 + [SAME] * 2 + [(0.0, 0.0)] * 40, usual=[0.0] * 48 + [1.0] * 12)
    half = [0.0, 1.0] * 30
    assert test.chance(half) == pytest.approx(0.32, abs=0.05)
    assert test.helps([GAIN] * 7 + [(0.0, 0.0)] * 5, half)
