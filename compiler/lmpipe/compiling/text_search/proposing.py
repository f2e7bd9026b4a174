"""What the proposer of `optimize_text` is asked."""

from __future__ import annotations

from lmpipe.signatures.signature import Input, Output, Signature


class ImproveText(Signature):
    """Improve a text that an evaluator scores from 0 to 1.

    Read what the text is for, what it did on the cases, and what the evaluator said. Find out what
    the text gets wrong or leaves out, and write one that scores higher and keeps what works. It
    must serve other cases too; do not recite these. Do not repeat what was tried and rejected.
    """

    program: str = Input(desc="what the text is for")
    instruction: str = Input(desc="the text as it is")
    cases: str = Input(desc="what it was used on, its score and what the evaluator said")
    tried: str = Input(desc="earlier texts, and what became of them")
    improved_text: str = Output(desc="the whole new text, and nothing else")


class ImproveOneText(ImproveText):
    """Improve one of several texts that are used together and that an evaluator scores from 0 to 1.

    Read what the texts are for, what they did on the cases, and what the evaluator said. Find out
    what this text gets wrong or leaves out, and write one that scores higher and keeps what works.
    It must serve other cases too; do not recite these. Do not repeat what was tried and rejected.
    """

    program: str = Input(desc="all texts by name, and what they are for")
    step: str = Input(desc="the name of the text to improve")
