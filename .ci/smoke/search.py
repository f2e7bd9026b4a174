"""A compile with an optimizer on a scripted LM."""

import lmpipe
from lmpipe.metrics import exact_match


def compile_with(optimizer: str) -> None:
    """Compile a small program; the proposer's instructions are all alike."""
    rows = [
        lmpipe.Example(thing=f"leaf {n}", colour="green").with_inputs("thing") for n in range(12)
    ]
    recipe = lmpipe.Recipe(
        program=lmpipe.Predict("thing -> colour"),
        train=rows[:4],
        val=rows[4:8],
        test=rows[8:],
        metric=exact_match("colour"),
        optimizer=optimizer,
        student=lmpipe.ScriptedLM(lambda request: "[[colour]]\ngreen"),
        proposer=lmpipe.ScriptedLM(lambda request: "[[instruction]]\nName the colour."),
        budget=lmpipe.Budget(calls=200),
    )
    run = lmpipe.compile(recipe, runs="runs")
    assert run.scores["compiled"] == 1, run.scores
