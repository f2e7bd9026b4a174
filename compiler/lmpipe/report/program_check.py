"""`lmpipe check` on the terminal: the predictors, their prompts, and what is wrong."""

from __future__ import annotations

from rich.console import Console

from lmpipe.compiling.program_check.check_recipe import ProgramCheck
from lmpipe.compiling.program_check.prompts import PredictorCheck, PromptSize
from lmpipe.foundation.plural import plural
from lmpipe.foundation.printable import printable
from lmpipe.report.terminal import say
from lmpipe.report.text import count


def print_program_check(console: Console, found: ProgramCheck, *, prompts: bool) -> None:
    """Print what was found; with `prompts`, each prompt in full."""
    predictors = plural(len(found.predictors), "predictor")
    calls = plural(found.calls_per_run, "LM call")
    examples = ", ".join(f"{count(rows)} {name}" for name, rows in found.examples.items())
    say(
        console, f"{found.name}: {found.program}, {predictors}, at most {calls} a run", style="bold"
    )
    say(console, f"examples: {examples or 'none'}")
    for item in found.predictors:
        _print_predictor(console, item, prompts=prompts)
    say(console)
    if not found.problems:
        say(console, "no problems", style="green")
        return
    say(console, f"{plural(len(found.problems), 'problem')}:", style="yellow")
    for problem in found.problems:
        say(console, f"  {printable(str(problem))}")


def _print_predictor(console: Console, item: PredictorCheck, *, prompts: bool) -> None:
    say(console)
    say(console, f"{item.path}: {item.kind}, at most {plural(item.calls, 'LM call')} a use")
    say(console, f"  {item.signature}")
    inputs = "the inputs of an example" if item.from_example else "placeholders among its inputs"
    say(console, f"  prompt: {plural(len(item.messages), 'turn')}, with {inputs}")
    for size in item.sizes:
        say(console, f"  {_size_line(size)}")
    if prompts:
        for turn in item.messages:
            say(console, f"  [{turn.role}]", style="dim")
            for line in printable(turn.text).splitlines():
                say(console, f"  {line}")


def _size_line(size: PromptSize) -> str:
    about, how = ("about ", ", estimated") if size.count.estimated else ("", "")
    reply = "" if size.reply is None else f" and {count(size.reply)} for the reply"
    return (
        f"{size.lm}: {about}{count(size.count.tokens)} tokens{how}{reply}, of a context of "
        f"{count(size.context)}"
    )
