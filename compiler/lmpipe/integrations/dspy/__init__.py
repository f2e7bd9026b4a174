"""DSPy programs, states, data, metrics and optimizers, run by lmpipe: `lmpipe[dspy]`.

program = lmpipe.integrations.dspy.from_dspy(MyModule())
"""

from __future__ import annotations

from lmpipe.integrations.dspy.lms import lm_from_dspy
from lmpipe.integrations.dspy.program import DSPyProgram, from_dspy

__all__ = ["DSPyProgram", "from_dspy", "lm_from_dspy"]
