"""A program of DSPy, run by lmpipe."""

import dspy

import lmpipe
from lmpipe.integrations.dspy import from_dspy

program = from_dspy(dspy.Predict("ticket -> team"))
reply = "[[ ## team ## ]]\nbilling\n\n[[ ## completed ## ]]"
with lmpipe.using(lm=lmpipe.ScriptedLM(lambda request: reply)):
    assert program(ticket="I was charged twice.").team == "billing"
