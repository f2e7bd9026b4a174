"""Numbers and results in words: percent, points, counts, money, durations, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmpipe.foundation.dollars import dollars
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import one_line
from lmpipe.lm.spend import Spend
from lmpipe.weights.trainer import TrainingProgress

if TYPE_CHECKING:
    from lmpipe.report.comparison.states import ListChange
    from lmpipe.report.records import Test, Training
    from lmpipe.state.lessons import Lesson
    from lmpipe.state.program_state import AdapterRef, Retrieval

# Shown in a table in place of a missing value.
NOTHING = "\N{EN DASH}"


def percent(score: float | None) -> str:
    """Format a score in [0, 1] as `81.2%`; None is a dash."""
    return NOTHING if score is None else f"{100 * score:.1f}%"


def points(difference: float) -> str:
    """Format a difference of scores as `+12.3`, in percentage points."""
    text = f"{100 * difference:+.1f}"
    return "+0.0" if text == "-0.0" else text


def percent_range(interval: Sequence[float]) -> str:
    """Format an interval of scores as `72.1 to 87.6`, in percent."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def points_range(interval: Sequence[float]) -> str:
    """Format an interval of differences as `+4.1 to +20.5`, in percentage points."""
    return f"{points(interval[0])} to {points(interval[1])}"


def count(number: float) -> str:
    """Format a whole number with thousands separators: `12,345`."""
    return f"{number:,.0f}"


def signed_count(number: float) -> str:
    """Format a difference of counts as `+1,234`; less than a half is `0`."""
    return f"{number:+,.0f}" if abs(number) >= 0.5 else "0"


def money(usd: float | None) -> str:
    """Format US dollars, small amounts with more digits; an unknown price (None) is a dash."""
    return NOTHING if usd is None else dollars(usd)


def spend_line(spend: Spend) -> str:
    """Describe spend in one line: calls and tokens, how many of each reached an LM, dollars."""
    dollars = "price unknown" if spend.usd is None else money(spend.usd)
    return (
        f"{plural(spend.calls, 'LM call')} ({fresh_calls(spend)}), "
        f"{plural(spend.tokens, 'token')} ({count(spend.fresh_tokens)} fresh), {dollars}"
    )


def fresh_calls(spend: Spend) -> str:
    """Describe how many calls reached an LM, and how many of them had to be sent again."""
    again = f", {count(spend.resent)} sent again" if spend.resent else ""
    return f"{count(spend.fresh_calls)} fresh{again}"


def duration(seconds: float) -> str:
    """Format a duration as `0.42 s`, `12.3 s`, `4 min 05 s` or `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def tally(kinds: Mapping[Any, int]) -> str:
    """Format counts by kind as `1 metric, 2 output`; `none` if there are none."""
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "none"


def retrieval_line(retrieval: Retrieval) -> str:
    """Describe how demonstrations are retrieved for each call."""
    pool = plural(len(retrieval.pool), "demonstration")
    by = f", by embeddings of {retrieval.vectors.embedder}" if retrieval.vectors else ""
    spread = ", balanced over the labels" if retrieval.balanced else ""
    return f"{count(retrieval.k)} nearest of {pool}, per input{by}{spread}"


def lesson_counts(lesson: Lesson) -> str:
    """Say how often a lesson helped and did harm."""
    return f"helpful {count(lesson.helpful)}, harmful {count(lesson.harmful)}"


def list_words(change: ListChange[Any]) -> str:
    """Say what a list has gained and lost."""
    if change.moved:
        return f"the same {count(change.kept)} in another order"
    gone, new, kept = count(len(change.gone)), count(len(change.new)), count(change.kept)
    return f"{gone} gone, {new} new, {kept} kept"


def weights_line(
    adapter: AdapterRef | None, lm: str | None, training: Training | None
) -> str | None:
    """Describe the trained weights of a predictor's state; None if there are none.

    `training` is how they were trained, if the manifest has it.
    """
    if adapter is not None:
        line = f"{adapter.name}, a LoRA adapter for {adapter.base}"
    elif lm is not None and training is not None:
        kind = "a provider's model" if training.model else "all weights"
        line = f"{lm}, {kind}, trained from {training.base.model}"
    else:
        return None
    if training is None:
        return line
    if chosen := training.chosen:
        cost = f" ({plural(chosen.calls, 'LM call')})" if chosen.calls else ""
        line += f", on {count(training.rows)} of {plural(chosen.of, 'row')}, chosen by "
        line += f"{chosen.rule!r}{cost}"
    else:
        line += f", on {plural(training.rows, 'row')}"
    if training.curve:
        line += f", loss {_loss(training.curve[0][1])} to {_loss(training.curve[-1][1])}"
    if training.held_out:
        line += f", {_loss(training.held_out[-1][1])} on held-out rows"
    return line


def _loss(loss: float | None) -> str:
    return NOTHING if loss is None else f"{loss:.2f}"


def training_line(training: TrainingProgress) -> str:
    """Describe the losses of a training and the time left, as far as they are known."""
    known = []
    if training.loss is not None:
        known.append(f"loss {training.loss:.3f}")
    if training.held_out_loss is not None:
        known.append(f"{training.held_out_loss:.3f} on held-out rows")
    if training.seconds_left and training.step < training.steps:
        known.append(f"{duration(training.seconds_left)} left")
    return ", ".join(known)


def difference_line(test: Test) -> str:
    """Describe the final comparison in one sentence."""
    examples = plural(test.scores["compiled"].examples, "untouched test example")
    return (
        f"difference from the better baseline ({test.baseline}): "
        f"{points(test.difference)} points (paired 95 % interval "
        f"{points_range(test.interval)}) on {examples}{weighted_words(test)}"
    )


def weighted_words(test: Test) -> str:
    """Say what the difference is once costs are weighed, if the recipe has objectives."""
    if test.weighted is None:
        return ""
    interval = points_range(test.weighted.interval)
    return f"; with costs weighed {points(test.weighted.difference)} ({interval})"


def objectives_line(objectives: Mapping[str, Any]) -> str:
    """Describe the weights of a recipe's objectives: `score 1, tokens -0.2 per 1,000`."""
    units = {"tokens": " per 1,000 of a run", "usd": " per dollar of 1,000 runs"}
    given = {name: objectives.get(name) for name in ("score", "tokens", "usd")}
    return ", ".join(
        f"{name} {weight:g}{units.get(name, '')}" for name, weight in given.items() if weight
    )


def verdict_line(test: Test) -> str:
    """Say whether the compiled program is better, and what to do if that is not certain."""
    low, high = test.deciding
    kept = f"the better baseline ({test.baseline})"
    if test.baseline == "as declared":
        kept = "the declared program"
    if low > 0:
        return "better: the whole interval is above zero"
    if high < 0:
        return f"worse: the whole interval is below zero; keep {kept}"
    return f"not certain: the interval includes zero; keep {kept}, or test on more examples"


def standing_line(examples: int, of: int, *, stopped: bool) -> str:
    """Say how far an incomplete candidate came: `dropped after 16 of 40 examples`."""
    return f"{standing_word(stopped=stopped)} after {count(examples)} of {plural(of, 'example')}"


def standing_word(*, stopped: bool) -> str:
    """Say why a candidate was not scored on all validation examples."""
    return "stopped by the budget" if stopped else "dropped"


def correction_line(score: float, estimate: float, candidates: int) -> str:
    """Explain the validation score, corrected for being the best of several."""
    return (
        f"its validation score of {percent(score)} is the best of "
        f"{plural(candidates, 'candidate')} that were scored on all examples; corrected for this "
        f"selection: {percent(estimate)}"
    )


def sentence(text: str) -> str:
    """Begin a text with a capital letter and end it with a full stop; the empty text stays."""
    return f"{text[0].upper()}{text[1:].removesuffix('.')}." if text else ""


def proposals_line(asked: int, unusable: int, first_error: str) -> str:
    """Say how many proposals could not be used, and what to do if none could."""
    line = f"{count(unusable)} of {plural(asked, 'proposal')} could not be used: first error: "
    line += one_line(first_error)
    if unusable == asked:
        line += "; nothing was proposed: check the proposer, or name another one (--proposer LM)"
    return line


def racing_line(saved: int, of: int) -> str:
    """Say how many runs racing saved."""
    return f"racing saved {count(saved)} of {plural(of, 'run')} on validation examples"
