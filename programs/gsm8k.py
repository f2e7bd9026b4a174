"""GSM8K: solve grade-school math word problems, with the three programs of the DSPy paper.

    lmpipe compile programs/gsm8k.py                    # chain of thought
    lmpipe compile programs/gsm8k.py:vanilla
    lmpipe compile programs/gsm8k.py:reflection --train FILE --test FILE

The public data set (Cobbe et al. 2021, MIT) is loaded by its hub name, which needs
`pip install 'lmpipe[datasets]'`. JSONL or CSV files with `question` and `answer` work without it.
The programs are those of `programs/math_problems.py`.
"""

from __future__ import annotations

import lmpipe
from lmpipe.metrics import numeric_match
from programs.math_problems import BOOTSTRAP, CHAIN_OF_THOUGHT, REFLECTION, VANILLA


def gsm8k(split: str) -> lmpipe.Source:
    """Return a split of the public data set: `train` or `test`."""
    return lmpipe.Source(
        f"openai/gsm8k:main:{split}", inputs=["question"], required=["answer"], convert=split_answer
    )


def split_answer(row: dict[str, str]) -> dict[str, object]:
    """Split an answer of the data set, which is a solution, `####`, and the number."""
    solution, _, number = row["answer"].rpartition("####")
    return {
        "question": row["question"],
        "reasoning": row.get("solution", solution).strip(),
        "answer": float(number.replace(",", "")),
    }


def _recipe(program: lmpipe.Module, name: str) -> lmpipe.Recipe:
    return lmpipe.Recipe(
        program=program,
        train=gsm8k("train"),
        test=gsm8k("test"),
        metric=numeric_match("answer"),
        optimizer=BOOTSTRAP,
        train_size=200,
        val_size=300,
        test_size=300,
        name=name,
    )


vanilla = _recipe(VANILLA, "gsm8k-vanilla")
chain_of_thought = _recipe(CHAIN_OF_THOUGHT, "gsm8k-cot")
reflection = _recipe(REFLECTION, "gsm8k-reflection")
recipe = chain_of_thought
