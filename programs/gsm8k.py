"""GSM8K: solve grade-school math word problems, with the three programs of the DSPy paper.

    lmpipe compile programs/gsm8k.py                    # chain of thought
    lmpipe compile programs/gsm8k.py:vanilla
    lmpipe compile programs/gsm8k.py:reflection --train FILE --test FILE

The public data set (Cobbe et al. 2021, MIT) is loaded by its hub name, which needs
`pip install 'lmpipe[datasets]'`. JSONL or CSV files with `question` and `answer` work without it.
The programs are those of arXiv 2310.03714, section 6: vanilla, CoT and ThoughtReflection.
"""

from __future__ import annotations

import lmpipe
from lmpipe.metrics import numeric_match

CHAINS = 5


class Solve(lmpipe.Signature):
    """Solve the math word problem."""

    question: str = lmpipe.Input()
    answer: float = lmpipe.Output(desc="the number that is asked for")


class Compare(lmpipe.Signature):
    """Several attempts at the problem follow. Reason over them and give the right answer."""

    question: str = lmpipe.Input()
    attempts: list[str] = lmpipe.Input()
    answer: float = lmpipe.Output(desc="the number that is asked for")


class Reflection(lmpipe.Module):
    """Sample several chains of thought, then compare them."""

    # Each chain and the comparison may be retried once.
    max_calls = 2 * (CHAINS + 1)

    def __init__(self) -> None:
        self.attempt = lmpipe.ChainOfThought(Solve)
        self.compare = lmpipe.ChainOfThought(Compare)

    async def forward(self, question: str) -> Compare:
        chains = await self.attempt.asamples(CHAINS, question=question)
        attempts = [f"{chain.reasoning} The answer is {chain.answer:g}." for chain in chains]
        return await self.compare.acall(question=question, attempts=attempts)


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
        optimizer=lmpipe.RandomSearch(candidates=10, demos=8, bootstrapped=4),
        train_size=200,
        val_size=300,
        test_size=300,
        name=name,
    )


vanilla = _recipe(lmpipe.Predict(Solve), "gsm8k-vanilla")
chain_of_thought = _recipe(lmpipe.ChainOfThought(Solve), "gsm8k-cot")
reflection = _recipe(Reflection(), "gsm8k-reflection")
recipe = chain_of_thought
