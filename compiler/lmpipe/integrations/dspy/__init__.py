"""DSPy programs, states, data, metrics and optimizers, run by lmpipe: `lmpipe[dspy]`.

program = lmpipe.integrations.dspy.from_dspy(MyModule())
"""

from __future__ import annotations

from lmpipe.integrations.dspy.examples import example_from_dspy, example_to_dspy
from lmpipe.integrations.dspy.lms import lm_from_dspy
from lmpipe.integrations.dspy.metrics import DSPyMetric, dspy_metric
from lmpipe.integrations.dspy.optimizer import DSPyOptimizer
from lmpipe.integrations.dspy.program import DSPyProgram, from_dspy
from lmpipe.integrations.dspy.states import load_dspy_state, save_dspy_state, to_dspy
from lmpipe.integrations.dspy.tools import dspy_tool

__all__ = [
    "DSPyMetric",
    "DSPyOptimizer",
    "DSPyProgram",
    "dspy_metric",
    "dspy_tool",
    "example_from_dspy",
    "example_to_dspy",
    "from_dspy",
    "lm_from_dspy",
    "load_dspy_state",
    "save_dspy_state",
    "to_dspy",
]
