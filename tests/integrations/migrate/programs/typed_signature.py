"""Classify the sentiment of product reviews."""

from typing import Literal

import dspy

lm = dspy.LM("openai/gpt-4o-mini", temperature=0.0, max_tokens=200)
dspy.configure(lm=lm)


class Sentiment(dspy.Signature):
    """Classify the sentiment of a product review."""

    review: str = dspy.InputField()
    sentiment: Literal["positive", "negative", "neutral"] = dspy.OutputField()
    confidence: float = dspy.OutputField(desc="between 0 and 1")


classify = dspy.Predict(Sentiment)

# A few labelled reviews.
rows = [
    ("The battery lasts for days.", "positive"),
    ("It broke after a week.", "negative"),
    ("It is a phone.", "neutral"),
    ("Best purchase of the year!", "positive"),
]
trainset = [dspy.Example(review=text, sentiment=label).with_inputs("review") for text, label in rows]
devset = trainset[2:]


def accuracy(example, pred, trace=None):
    return example.sentiment == pred.sentiment


if __name__ == "__main__":
    evaluate = dspy.Evaluate(devset=devset, metric=accuracy, num_threads=4, display_progress=True)
    evaluate(classify)

    optimizer = dspy.BootstrapFewShot(metric=accuracy, max_bootstrapped_demos=2, max_labeled_demos=2)
    compiled = optimizer.compile(classify, trainset=trainset)
    print(evaluate(compiled).score)
    compiled.save("sentiment.json")

    again = dspy.Predict(Sentiment)
    again.load("sentiment.json")
    print(again(review="I would buy it again.").sentiment)
