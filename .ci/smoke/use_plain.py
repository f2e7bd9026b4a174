"""What needs no extra: the command line, a program, a compile, a new project."""

import json
import subprocess
import sys

import lmpipe
from lmpipe.metrics import exact_match


def answer(request: object) -> str:
    return "[[colour]]\ngreen"


rows = [lmpipe.Example(thing=f"leaf {n}", colour="green").with_inputs("thing") for n in range(12)]
recipe = lmpipe.Recipe(
    program=lmpipe.Predict("thing -> colour"),
    train=rows[:4],
    val=rows[4:8],
    test=rows[8:],
    metric=exact_match("colour"),
    student=lmpipe.ScriptedLM(answer),
    budget=lmpipe.Budget(calls=100),
)
run = lmpipe.compile(recipe, runs="runs")
assert run.scores["compiled"] == 1, run.scores
assert (run.path / "program.json").is_file()


def command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lmpipe", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


assert lmpipe.__version__ in command("--version")
assert json.loads(command("doctor", "--json"))["sound"]
command("init", "demo")
