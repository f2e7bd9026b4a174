"""Summarize a document, then give it a title."""

import dspy
from dspy import Example

dspy.settings.configure(lm=dspy.LM("openai/gpt-4o-mini", api_base="https://llm.example.com/v1"))

summarize = dspy.Predict("document -> summary")
titles = dspy.Predict(dspy.Signature("summary, max_words: int -> title, keywords: list[str]", "Write a title for a summary."))
short = dspy.ChainOfThought("question, context: list[str] -> answer: str", temperature=0.7)


def describe(document: str):
    summary = summarize(document=document).summary
    titled = titles(summary=summary, max_words=6)
    return titled["title"], titled.get("keywords")


example = Example(document="Bern is the capital of Switzerland.").with_inputs("document")

if __name__ == "__main__":
    title, keywords = describe(**example.inputs())
    print(title, keywords)
    dspy.inspect_history(n=2)
