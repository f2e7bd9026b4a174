"""`lmpipe check` on the terminal: the predictors, their prompts, and what is wrong."""

from __future__ import annotations

from rich.console import Console

from lmpipe.compiling.program_check.check_recipe import ProgramCheck
from lmpipe.compiling.program_check.prompts import PredictorCheck, PromptSize
from lmpipe.foundation.plural import plural
from lmpipe.foundation.printable import printable
from lmpipe.foundation.shorten import shorten
from lmpipe.lm.parts import media_in
from lmpipe.report.terminal import say
from lmpipe.report.text import count

# The length of a signature in a list; the JSON has it in full.
_WIDTH = 200


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
    say(console, f"  {shorten(item.signature, _WIDTH)}")
    inputs = "the inputs of an example" if item.from_example else "placeholders among its inputs"
    say(console, f"  prompt: {plural(len(item.messages), 'turn')}, with {inputs}{_media(item)}")
    for size in item.sizes:
        say(console, f"  {_size_line(size)}")
    if prompts:
        for turn in item.messages:
            say(console, f"  [{turn.role}]", style="dim")
            for line in printable(turn.text).splitlines():
                say(console, f"  {line}")


def _media(item: PredictorCheck) -> str:
    media = sum(len(media_in(turn.content)) for turn in item.messages)
    if not media:
        return ""
    return f"; the tokens of {plural(media, 'image or file', 'images or files')} are not counted"


def _size_line(size: PromptSize) -> str:
    tokens = f"{count(size.count.tokens)} tokens"
    tokens = f"about {tokens} (estimated)" if size.count.estimated else tokens
    reply = "" if size.reply is None else f" and {count(size.reply)} for the reply"
    return f"{size.lm}: {tokens}{reply}, of a context of {count(size.context)}"
