"""Sort requests by topic and urgency."""

import enum

import dspy
from dspy import InputField, OutputField, Signature


class Topic(str, enum.Enum):
    BILLING = "billing"
    SHIPPING = "shipping"
    OTHER = "other"


class Urgency(enum.Enum):
    LOW = 1
    HIGH = 2


class Triage(Signature):
    """Sort a customer's request."""

    request: str = InputField(desc="what the customer wrote")
    topic: Topic = OutputField()
    urgency: Urgency = OutputField(desc="how soon somebody should answer")


class Desk(dspy.Module):
    """Sort a request, and write an answer to those about billing."""

    def __init__(self):
        super().__init__()
        self.triage = dspy.Predict(Triage)
        self.answer = dspy.ChainOfThought("request, topic -> answer")

    def forward(self, request):
        sorted_ = self.triage(request=request)
        if sorted_.topic is not Topic.BILLING:
            return sorted_
        answer = self.answer(request=request, topic=sorted_.topic.value)
        return dspy.Prediction(**sorted_, answer=answer.answer)


examples = [
    dspy.Example(request="Where is my parcel?", topic=Topic.SHIPPING).with_inputs("request"),
    dspy.Example(request="You charged me twice.", topic=Topic.BILLING).with_inputs("request"),
]


def same_topic(example, prediction, trace=None):
    return example.topic == prediction.topic


desk = Desk()

if __name__ == "__main__":
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    fewshot = dspy.LabeledFewShot(k=2).compile(desk, trainset=examples)
    evaluator = dspy.Evaluate(devset=examples, metric=same_topic)
    print(evaluator(fewshot))
