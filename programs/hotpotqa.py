"""HotPotQA: multi-hop questions over ten paragraphs of Wikipedia each.

    lmpipe compile programs/hotpotqa.py
    lmpipe compile programs/hotpotqa.py:chain_of_thought

The public data set (Yang et al. 2018, CC-BY-SA-4.0) is loaded by its hub name, which needs
`pip install 'lmpipe[datasets]'`. JSONL files with rows of its form work without it. A question has
its two supporting paragraphs and eight others, which `recipe` searches hop by hop, as
`programs/multi_hop.py` does, and `chain_of_thought` reads all at once.
"""

from __future__ import annotations

from typing import Any

import lmpipe
from lmpipe.metrics import normalized_match
from programs.multi_hop import AnswerFromNotes, AnswerFromPassages, Hops

HUB_NAME = "hotpotqa/hotpot_qa"


class HopsOverParagraphs(Hops):
    """Hops over the paragraphs that are given with the question."""

    async def forward(
        self, question: str, passages: list[lmpipe.Passage | dict[str, Any]]
    ) -> AnswerFromNotes:
        return await self.follow(question, lmpipe.Retrieve(lmpipe.BM25(passages), k=3))


def hotpotqa(split: str) -> lmpipe.Source:
    """Return a split of the public data set: `train` or `validation`."""
    return lmpipe.Source(
        f"{HUB_NAME}:distractor:{split}",
        inputs=["question", "passages"],
        required=["answer", "supporting_facts"],
        rename={"context": "passages"},
        convert=with_paragraphs,
    )


def with_paragraphs(row: dict[str, Any]) -> dict[str, Any]:
    """Make passages of the paragraphs of a row, whose text is a list of sentences."""
    paragraphs, facts = row["passages"], row["supporting_facts"]
    passages = [
        {"id": str(number), "title": title, "text": "".join(sentences).strip()}
        for number, (title, sentences) in enumerate(
            zip(paragraphs["title"], paragraphs["sentences"], strict=True), start=1
        )
    ]
    support = [one["id"] for one in passages if one["title"] in facts["title"]]
    return {
        "question": row["question"],
        "passages": passages,
        "answer": row["answer"],
        "support": support,
    }


def _recipe(program: lmpipe.Module, name: str) -> lmpipe.Recipe:
    return lmpipe.Recipe(
        program=program,
        train=hotpotqa("train"),
        test=hotpotqa("validation"),
        metric=normalized_match("answer"),
        optimizer=lmpipe.RandomSearch(candidates=8, demos=4, bootstrapped=3),
        train_size=200,
        val_size=300,
        test_size=300,
        name=name,
    )


chain_of_thought = _recipe(lmpipe.ChainOfThought(AnswerFromPassages), "hotpotqa-cot")
recipe = _recipe(HopsOverParagraphs(), "hotpotqa-hops")
