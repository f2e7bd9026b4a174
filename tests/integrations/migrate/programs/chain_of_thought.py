"""Word problems with a chain of thought, compiled by MIPROv2."""

import dspy
from dspy.evaluate import Evaluate
from dspy.teleprompt import MIPROv2

lm = dspy.LM("openai/gpt-4o-mini")
teacher = dspy.LM("openai/gpt-4o")
dspy.configure(lm=lm)


class SolveProblem(dspy.Signature):
    """Solve a word problem. Give the answer as a number without a unit."""

    question = dspy.InputField(desc="a word problem")
    answer: int = dspy.OutputField()


class Solver(dspy.Module):
    def __init__(self):
        super().__init__()
        self.solve = dspy.ChainOfThought(SolveProblem)

    def forward(self, question):
        prediction = self.solve(question=question)
        return dspy.Prediction(answer=prediction.answer, reasoning=prediction.reasoning)


def metric(example, pred, trace=None):
    right = int(example.answer) == pred.answer
    if trace is not None:
        # While demonstrations are made, the reasoning has to be short, too.
        return right and len(pred.reasoning) < 1000
    return right


problems = [
    dspy.Example(question="Tom has 3 apples and buys 2. How many has he?", answer=5).with_inputs("question"),
    dspy.Example(question="A box holds 4 pens. How many do 3 boxes hold?", answer=12).with_inputs("question"),
    dspy.Example(question="Ann had 9 eggs and ate 2. How many are left?", answer=7).with_inputs("question"),
]

solver = Solver()


def main():
    tp = MIPROv2(metric=metric, auto="light", prompt_model=teacher, num_threads=8)
    optimized = tp.compile(
        solver.deepcopy(),
        trainset=problems,
        valset=problems,
        max_bootstrapped_demos=2,  # of each predictor
        max_labeled_demos=4,
        requires_permission_to_run=False,
    )
    score = Evaluate(devset=problems, metric=metric, num_threads=8)(optimized)
    print(score)


if __name__ == "__main__":
    main()
