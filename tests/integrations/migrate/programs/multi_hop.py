"""Answer questions that need several searches."""

import dspy
from dspy.teleprompt import BootstrapFewShotWithRandomSearch

PASSAGES = [
    "Bern | Bern is the capital of Switzerland.",
    "Aare | The Aare is a river that flows through Bern.",
    "Basel | Basel lies on the Rhine.",
]


def search(query: str, k: int = 2) -> list[str]:
    words = set(query.lower().split())
    return sorted(PASSAGES, key=lambda text: -len(words & set(text.lower().split())))[:k]


class GenerateQuery(dspy.Signature):
    """Write a search query that will help to answer a complex question."""

    context: list[str] = dspy.InputField(desc="may contain relevant facts")
    question: str = dspy.InputField()
    query: str = dspy.OutputField()


class GenerateAnswer(dspy.Signature):
    """Answer questions with short factoid answers."""

    context: list[str] = dspy.InputField(desc="may contain relevant facts")
    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="often between 1 and 5 words")


def deduplicate(items):
    return list(dict.fromkeys(items))


class MultiHop(dspy.Module):
    def __init__(self, passages_per_hop=2, max_hops=2):
        super().__init__()
        self.passages_per_hop = passages_per_hop
        self.generate_query = [dspy.ChainOfThought(GenerateQuery) for _ in range(max_hops)]
        self.generate_answer = dspy.ChainOfThought(GenerateAnswer)
        self.max_hops = max_hops

    def forward(self, question):
        context = []
        for hop in range(self.max_hops):
            query = self.generate_query[hop](context=context, question=question).query
            passages = search(query, k=self.passages_per_hop)
            context = deduplicate(context + passages)
        pred = self.generate_answer(context=context, question=question)
        return dspy.Prediction(context=context, answer=pred.answer)


trainset = [
    dspy.Example(question="Which river flows through the capital of Switzerland?", answer="Aare"),
    dspy.Example(question="Which city lies on the Rhine?", answer="Basel"),
    dspy.Example(question="What is the capital of Switzerland?", answer="Bern"),
]
trainset = [x.with_inputs("question") for x in trainset]


def validate(example, pred, trace=None):
    return dspy.evaluate.answer_exact_match(example, pred)


program = MultiHop()

if __name__ == "__main__":
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    teleprompter = BootstrapFewShotWithRandomSearch(
        metric=validate, max_bootstrapped_demos=2, num_candidate_programs=4
    )
    compiled = teleprompter.compile(MultiHop(), teacher=MultiHop(passages_per_hop=3), trainset=trainset)
    print(compiled(question="Which river flows through Bern?").answer)
