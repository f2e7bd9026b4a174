"""Math word problems: the programs and the compilers of the DSPy paper's first case study.

    lmpipe compile programs/math_problems.py                       # chain of thought, bootstrap
    lmpipe compile programs/math_problems.py:reflection_ensemble
    lmpipe eval programs/math_problems.py:vanilla_few_shot         # "none": the program as declared

The programs are those of arXiv 2310.03714, section 6: vanilla, CoT and ThoughtReflection, each with
the compilers of its table 1. The 300 problems are in `programs/data`, written by
`programs/generators/word_problems.py`; `programs/gsm8k.py` has the same programs on GSM8K.
"""

from __future__ import annotations

import lmpipe
from lmpipe.metrics import numeric_match
from lmpipe.optimize import Optimizer
from programs.json_lines import DATA

CHAINS = 5


class Solve(lmpipe.Signature):
    """Solve the math word problem."""

    question: str = lmpipe.Input()
    answer: float = lmpipe.Output(desc="the number that is asked for")


VANILLA = lmpipe.Predict(Solve)
CHAIN_OF_THOUGHT = lmpipe.ChainOfThought(Solve)
REFLECTION = lmpipe.MultiChainComparison(Solve, m=CHAINS)

# The compilers of the paper's table 1, as far as one run of them is comparable: `bootstrap` is its
# BootstrapFewShotWithRandomSearch, and twice of it learns the second time from the first result.
# The paper's ensembles have 7 members; 5 are enough for a majority on a small LM.
FEW_SHOT = lmpipe.LabeledFewShot(demos=8)
BOOTSTRAP = lmpipe.RandomSearch(candidates=10, demos=8, bootstrapped=4)
BOOTSTRAP_TWICE = lmpipe.Chain(stages=(BOOTSTRAP, BOOTSTRAP))
ENSEMBLE = lmpipe.Ensemble(search=BOOTSTRAP, size=5)
# Not in the paper: each problem is shown the solved problems that are most like it.
NEAREST = lmpipe.KNNFewShot(k=(4, 8))


def word_problems(split: str) -> lmpipe.Source:
    """Return a split of the problems: `train`, `val` or `test`."""
    return lmpipe.Source(
        DATA / f"word_problems_{split}.jsonl", inputs=["question"], required=["answer"]
    )


def _recipe(program: lmpipe.Module, name: str, optimizer: Optimizer) -> lmpipe.Recipe:
    return lmpipe.Recipe(
        program=program,
        train=word_problems("train"),
        val=word_problems("val"),
        test=word_problems("test"),
        metric=numeric_match("answer"),
        optimizer=optimizer,
        name=f"math-{name}",
    )


vanilla_few_shot = _recipe(VANILLA, "vanilla-few-shot", FEW_SHOT)
vanilla_bootstrap = _recipe(VANILLA, "vanilla-bootstrap", BOOTSTRAP)
vanilla_bootstrap_twice = _recipe(VANILLA, "vanilla-bootstrap-twice", BOOTSTRAP_TWICE)
vanilla_ensemble = _recipe(VANILLA, "vanilla-ensemble", ENSEMBLE)

cot_few_shot = _recipe(CHAIN_OF_THOUGHT, "cot-few-shot", FEW_SHOT)
cot_bootstrap = _recipe(CHAIN_OF_THOUGHT, "cot-bootstrap", BOOTSTRAP)
cot_bootstrap_twice = _recipe(CHAIN_OF_THOUGHT, "cot-bootstrap-twice", BOOTSTRAP_TWICE)
cot_ensemble = _recipe(CHAIN_OF_THOUGHT, "cot-ensemble", ENSEMBLE)
cot_nearest = _recipe(CHAIN_OF_THOUGHT, "cot-nearest", NEAREST)

reflection_few_shot = _recipe(REFLECTION, "reflection-few-shot", FEW_SHOT)
reflection_bootstrap = _recipe(REFLECTION, "reflection-bootstrap", BOOTSTRAP)
reflection_bootstrap_twice = _recipe(REFLECTION, "reflection-bootstrap-twice", BOOTSTRAP_TWICE)
reflection_ensemble = _recipe(REFLECTION, "reflection-ensemble", ENSEMBLE)

recipe = cot_bootstrap
