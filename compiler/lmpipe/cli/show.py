"""`lmpipe show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lmpipe.cli.options import TargetOptions, with_option_groups

if TYPE_CHECKING:
    from rich.console import Console

    from lmpipe.lm.message import Message
    from lmpipe.modules.module import Module
    from lmpipe.report.records import Manifest, Training
    from lmpipe.state.program_state import Demo, PredictorState, ProgramState

# A pool may hold thousands; program.json has them all.
_POOL_SHOWN = 5


@with_option_groups
def command(where: TargetOptions) -> None:
    """Show what a compile learned.

    With --program or --trust, it shows a full prompt too.
    """
    from lmpipe.cli.overrides import Overrides
    from lmpipe.cli.targets import is_run_folder, open_target
    from lmpipe.compiling.run_folder import read_artifact
    from lmpipe.report.run_files import parse_manifest, read_stages
    from lmpipe.report.terminal import make_console

    console = make_console()
    if not is_run_folder(where.target):
        opened = open_target(where, Overrides())
        state = opened.program.state()
        described = {
            state.declared_path(path): predictor.spec.describe()
            for path, predictor in opened.program.predictors().items()
        }
        _show(console, state, described, opened.program)
        return
    artifact = read_artifact(where.target)
    bound = None
    if where.program is not None or where.trust:
        bound = open_target(where, Overrides()).program
    manifest = parse_manifest(artifact.manifest, artifact.path)
    _show_scores(console, manifest)
    _show_stages(console, list(read_stages(artifact.path)))
    signatures = artifact.manifest["program"].get("signatures", {})
    trainings = {path: weights.training for path, weights in manifest.weights.items()}
    _show(console, artifact.state, signatures, bound, trainings)


def _show_scores(console: Console, manifest: Manifest) -> None:
    from lmpipe.report.front import front_table
    from lmpipe.report.terminal import print_ablation, say
    from lmpipe.report.text import (
        difference_line,
        objectives_line,
        percent,
        standing_line,
        verdict_line,
    )
    from lmpipe.report.view import compiled_last

    say(
        console,
        f"{manifest.program.name}, compiled by {manifest.optimizer.name} for "
        f"{manifest.student}, seed {manifest.seed}",
        style="bold",
    )
    best, test = manifest.best, manifest.test
    if best is not None:
        say(console, f"candidate {best.number}: {best.name}, state {best.state[:12]}")
    if manifest.train:
        say(console, f"train: {percent(manifest.train.score)}")
    winner = next((c for c in manifest.validation if best and c.number == best.number), None)
    if winner:
        estimate = manifest.validation_estimate
        corrected = "" if estimate is None else f", corrected {percent(estimate)}"
        standing = ""
        if not winner.complete:
            line = standing_line(winner.examples, winner.of, stopped=winner.stopped)
            standing = f", {line}"
        say(console, f"validation: {percent(winner.score)}{corrected}{standing}")
    if test:
        scores = ", ".join(
            f"{name} {percent(test.scores[name].score)}" for name in compiled_last(test.scores)
        )
        say(console, f"test: {scores}")
        say(console, difference_line(test))
        say(console, verdict_line(test))
    if manifest.overfitting:
        say(console, manifest.overfitting.sentence, style="yellow")
    if manifest.objectives:
        say(console, f"objectives: {objectives_line(manifest.objectives)}")
    if (table := front_table(manifest)) is not None:
        say(console)
        console.print(table)
    if manifest.ablation:
        say(console)
        print_ablation(console, manifest.ablation)


def _show_stages(console: Console, stages: Sequence[str]) -> None:
    from lmpipe.report.terminal import say

    if stages:
        say(console)
        say(console, "what each stage gained on validation", style="bold")
    for line in stages:
        say(console, f"  {line}")


def _show(
    console: Console,
    state: ProgramState,
    signatures: Mapping[str, Any],
    program: Module | None,
    trainings: Mapping[str, Training | None] = MappingProxyType({}),
) -> None:
    from lmpipe.foundation.shorten import one_line
    from lmpipe.report.terminal import say
    from lmpipe.report.text import weights_line
    from lmpipe.signatures.signature_spec import spec_text
    from lmpipe.state.program_state import member_states

    if state.reduce is not None:
        members = len(member_states(state))
        say(console, f"ensemble of {members} members, reduced by {state.reduce}")
    for path, learned in state.predictors.items():
        signature = state.look_up(path, signatures, {})
        say(console)
        say(console, path, style="bold")
        say(console, f"  signature    {spec_text(signature)}")
        say(console, f"  layout       {learned.layout}")
        say(console, f"  constrained  {'yes' if learned.constrained else 'no'}")
        if learned.lm:
            say(console, f"  LM           {learned.lm}")
        if line := weights_line(learned.adapter, learned.lm, trainings.get(path)):
            say(console, f"  weights      {line}")
        if learned.decoding:
            say(console, f"  decoding     {_values(learned.decoding)}")
        say(console, "  instruction")
        for line in learned.instruction.splitlines() or [""]:
            say(console, f"    {line}")
        _show_lessons(console, learned)
        if learned.descriptions:
            say(console, "  descriptions of fields")
            for name, text in learned.descriptions.items():
                say(console, f"    {name}: {one_line(text, 200) or '(none)'}")
        _show_demos(console, learned, signature)
        if program is not None:
            _show_prompt(console, program, path, learned)


def _show_lessons(console: Console, learned: PredictorState) -> None:
    from lmpipe.report.terminal import say
    from lmpipe.report.text import lesson_counts

    if learned.lessons:
        say(console, f"  lessons: {len(learned.lessons)}")
    for number, lesson in enumerate(learned.lessons, start=1):
        first, *others = lesson.text.splitlines()
        say(console, f"    {number}. {first}")
        for line in others:
            say(console, f"       {line}")
        say(console, f"       ({lesson_counts(lesson)})")


def _show_demos(console: Console, learned: PredictorState, described: Mapping[str, Any]) -> None:
    from lmpipe.report.terminal import say
    from lmpipe.report.text import count, retrieval_line

    retrieval = learned.retrieval
    if learned.demos or retrieval is None:
        say(console, f"  demonstrations: {len(learned.demos)}")
        _list_demos(console, learned.demos, described)
    if retrieval is not None:
        say(console, f"  retrieved demonstrations: {retrieval_line(retrieval)}")
        _list_demos(console, retrieval.pool[:_POOL_SHOWN], described)
        if len(retrieval.pool) > _POOL_SHOWN:
            say(console, f"    … and {count(len(retrieval.pool) - _POOL_SHOWN)} more")


def _list_demos(console: Console, demos: Sequence[Demo], described: Mapping[str, Any]) -> None:
    from lmpipe.report.terminal import say
    from lmpipe.report.view import in_order

    for number, demo in enumerate(demos, start=1):
        inputs = in_order(demo.inputs, described.get("inputs", {}))
        outputs = in_order(demo.outputs, described.get("outputs", {}))
        say(console, f"    {number}. {_values(inputs)}")
        say(console, f"       → {_values(outputs)}  ({demo.source})")


def _values(values: Mapping[str, Any]) -> str:
    from lmpipe.foundation.media import without_bytes
    from lmpipe.foundation.shorten import one_line
    from lmpipe.state.program_state import to_plain

    shown = without_bytes(to_plain(values))
    return ", ".join(f"{name}={one_line(value, 80)}" for name, value in shown.items())


def _turn_text(message: Message) -> str:
    """The text of a turn, with the arguments of the tools that it calls."""
    from lmpipe.lm.parts import ToolCall

    if isinstance(message.content, str):
        return message.content
    calls = [f"{c.name}({c.arguments})" for c in message.content if isinstance(c, ToolCall)]
    return "\n".join(filter(None, [message.text, *calls]))


def _show_prompt(console: Console, program: Module, path: str, learned: PredictorState) -> None:
    """Print the prompt of a call, with placeholders for its inputs."""
    from lmpipe.layouts import layout_named, render_prefix
    from lmpipe.report.terminal import say

    spec = program.predictors()[path].spec.described(learned.descriptions)
    layout = layout_named(learned.layout)
    say(console, "  prompt, before the inputs of a call")
    for message in render_prefix(layout, spec, learned.told, learned.demos):
        say(console, f"    [{message.role}]", style="bold")
        for line in _turn_text(message).splitlines():
            say(console, f"      {line}")
    if learned.retrieval is not None:
        say(console, "    [the demonstrations of the pool that are nearest to the inputs]")
    shown = {name: f"<{name}>" for name in spec.written.input_names}
    say(console, "    [user]", style="bold")
    for line in layout.user(spec.written, shown).splitlines():
        say(console, f"      {line}")
