"""The part of the report page that shows what the winner learned, predictor by predictor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmpipe.report.html import card, chips, fields, section, text
from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import count, in_order, retrieval_line, weights_line
from lmpipe.state.program_state import member_states

# A pool of demonstrations may hold thousands.
_POOL_SHOWN = 6


def what_was_learned(run: RunFiles) -> str:
    """Each predictor's instruction, demonstrations and choices."""
    if run.state is None:
        return ""
    state, signatures = run.state, run.manifest["program"].get("signatures", {})
    note = ""
    if state.reduce is not None:
        members = count(len(member_states(state)))
        note = f"<p>An ensemble of {members} members, reduced by {text(state.reduce)}.</p>"
    return section(
        "What was learned",
        note,
        *(
            _predictor(path, learned, state.look_up(path, signatures, {}), run.manifest)
            for path, learned in state.to_json()["predictors"].items()
        ),
    )


def _predictor(
    path: str, learned: Mapping[str, Any], signature: Mapping[str, Any], manifest: Mapping[str, Any]
) -> str:
    inputs, outputs = signature.get("inputs", {}), signature.get("outputs", {})
    shown = ", ".join(f"{name}: {kind}" for name, kind in inputs.items())
    shown += " → " + ", ".join(f"{name}: {kind}" for name, kind in outputs.items())
    chosen = learned.get("retrieval")
    trained = manifest.get("weights", {}).get(path, {}).get("training")
    facts = {
        "layout": learned["layout"],
        "constrained": "yes" if learned["constrained"] else "no",
        "demonstrations": len(learned["demos"]),
        "retrieved": chosen and _in_words(chosen),
        "LM": learned.get("lm"),
        "weights": weights_line(learned.get("adapter"), learned.get("lm"), trained),
        "decoding": learned["decoding"] or None,
    }
    return card(
        f"<h3>{text(path)}</h3><p><code>{text(shown)}</code></p>",
        f"<pre>{text(learned['instruction'], 20_000)}</pre>",
        _demos(learned["demos"], inputs, outputs),
        _pool(chosen, inputs, outputs) if chosen else "",
        chips(facts),
    )


def _in_words(chosen: Mapping[str, Any]) -> str:
    embedder = (chosen.get("vectors") or {}).get("embedder", "")
    size, balanced = len(chosen["pool"]), chosen["balanced"]
    return retrieval_line(chosen["k"], size, balanced=balanced, embedder=embedder)


def _pool(chosen: Mapping[str, Any], inputs: Iterable[str], outputs: Iterable[str]) -> str:
    shown = chosen["pool"][:_POOL_SHOWN]
    left = len(chosen["pool"]) - len(shown)
    more = f" The first {len(shown)}; program.json has all." if left else ""
    return f'<p class="soft small">{text(_in_words(chosen))}.{more}</p>' + _demos(
        shown, inputs, outputs
    )


def _demos(
    demos: Sequence[Mapping[str, Any]], inputs: Iterable[str], outputs: Iterable[str]
) -> str:
    shown = "".join(
        f'<div class="demo">{fields(in_order(demo["inputs"], inputs), 400)}<div class="out">'
        f"{fields(in_order(demo['outputs'], outputs), 400)}</div>"
        f'<div class="soft small">{text(demo["source"])}</div></div>'
        for demo in demos
    )
    return f'<div class="demos">{shown}</div>' if shown else ""
