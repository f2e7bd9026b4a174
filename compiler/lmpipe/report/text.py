"""Figures as people read them: percent, points, counts, money, time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmpipe.lm.spend import Spend
from lmpipe.weights.trainer import TrainingProgress

# What stands in a table where there is no figure.
NOTHING = "\N{EN DASH}"


def percent(score: float | None) -> str:
    """A score in [0, 1] as `81.2%`."""
    return NOTHING if score is None else f"{100 * score:.1f}%"


def points(difference: float) -> str:
    """A difference of scores as `+12.3`, in percentage points."""
    text = f"{100 * difference:+.1f}"
    return "+0.0" if text == "-0.0" else text


def percent_range(interval: Sequence[float]) -> str:
    """An interval of scores as `72.1 to 87.6`, in percent."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def points_range(interval: Sequence[float]) -> str:
    """An interval of differences as `+4.1 to +20.5`, in percentage points."""
    return f"{points(interval[0])} to {points(interval[1])}"


def count(number: float) -> str:
    """A whole number with its thousands apart: `12,345`."""
    return f"{number:,.0f}"


def money(usd: float | None) -> str:
    """US dollars, small amounts with more digits; a dash where a price is unknown."""
    if usd is None:
        return NOTHING
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"


def spend_line(spend: Spend) -> str:
    """What was spent, with what reached an LM apart."""
    dollars = "price unknown" if spend.usd is None else money(spend.usd)
    return (
        f"{count(spend.calls)} LM calls ({count(spend.fresh_calls)} fresh), "
        f"{count(spend.tokens)} tokens ({count(spend.fresh_tokens)} fresh), {dollars}"
    )


def duration(seconds: float) -> str:
    """A time as `0.42 s`, `12.3 s`, `4 min 05 s` or `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def tally(kinds: Mapping[Any, int]) -> str:
    """Counts by kind as `2 output, 1 metric`; `none` where there are none."""
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "none"


def rows_of(number: int) -> str:
    """`1 row`, `2 rows`."""
    return f"{count(number)} {'row' if number == 1 else 'rows'}"


def retrieval_line(k: int, pool: int, *, balanced: bool, embedder: str = "") -> str:
    """Demonstrations that are chosen for each call, in words."""
    spread = ", balanced over the labels" if balanced else ""
    by = f", by embeddings of {embedder}" if embedder else ""
    return f"{count(k)} nearest of {count(pool)} demonstrations, per input{by}{spread}"


def weights_line(
    adapter: Mapping[str, Any] | None, lm: str | None, training: Mapping[str, Any] | None
) -> str | None:
    """Trained weights, in words; None where there are none.

    Args:
        adapter: as in a predictor's state.
        lm: the LM that a predictor's state names.
        training: what the manifest says of how they were trained, if anything.
    """
    if adapter is not None:
        line = f"{adapter['name']}, a LoRA adapter for {adapter['base']}"
    elif lm is not None and training is not None:
        kind = "a provider's model" if training.get("model") else "all weights"
        line = f"{lm}, {kind} that began as {training['base']['model']}"
    else:
        return None
    return line + _how_it_went(training) if training is not None else line


def _how_it_went(training: Mapping[str, Any]) -> str:
    line = f", from {rows_of(training['rows'])}"
    curve, held_out = training["curve"], training["held_out"]
    if curve:
        line += f", loss {curve[0][1]:.2f} to {curve[-1][1]:.2f}"
    return line + (f", {held_out[-1][1]:.2f} on rows held out" if held_out else "")


def training_line(training: TrainingProgress) -> str:
    """The losses of a training and the time left, as far as they are known."""
    known = []
    if training.loss is not None:
        known.append(f"loss {training.loss:.3f}")
    if training.held_out_loss is not None:
        known.append(f"{training.held_out_loss:.3f} on rows held out")
    if training.seconds_left and training.step < training.steps:
        known.append(f"{duration(training.seconds_left)} left")
    return ", ".join(known)


def shorten(value: Any, most: int = 300) -> str:
    """A value on one line, cut where it is too long."""
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def difference_line(test: Mapping[str, Any], examples: int) -> str:
    """The final comparison in one sentence.

    Args:
        test: the `test` of a manifest.
        examples: how many examples it rests on.
    """
    return (
        f"difference from the better baseline ({test['baseline']}): "
        f"{points(test['difference'])} points (paired 95 % interval "
        f"{points_range(test['interval'])}) on {count(examples)} untouched test "
        f"{'example' if examples == 1 else 'examples'}"
    )


def is_complete(candidate: Mapping[str, Any]) -> bool:
    """Whether a candidate of a run folder met all validation examples; all once did."""
    return bool(candidate.get("complete", True))


def standing_line(candidate: Mapping[str, Any]) -> str:
    """How far a candidate came: `dropped after 16 of 40 examples`; nothing if it met all.

    Args:
        candidate: as in `candidates.jsonl`.
    """
    if is_complete(candidate):
        return ""
    word = "stopped by the budget" if candidate.get("stopped") else "dropped"
    return f"{word} after {count(candidate['examples'])} of {count(candidate['of'])} examples"


def correction_line(score: float, estimate: float, candidates: int) -> str:
    """What the validation score is worth once the choice is taken into account."""
    return (
        f"its validation score of {percent(score)} is the best of {count(candidates)} that met all "
        f"examples; corrected for having been chosen by it: {percent(estimate)}"
    )


def racing_line(saved: int, of: int) -> str:
    """What racing was good for."""
    return f"racing saved {count(saved)} of {count(of)} runs on validation"


def in_order(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Values in the order of these names; others follow."""
    first = {name: values[name] for name in names if name in values}
    return {**first, **values}
