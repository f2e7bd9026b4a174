"""Grade an essay by several graders, which are modules in a list and in a dict."""

import dspy


class Grade(dspy.Signature):
    """Grade an essay on one aspect, from 1 (worst) to 5 (best)."""

    essay: str = dspy.InputField()
    aspect: str = dspy.InputField(desc="what to look at")
    grade: int = dspy.OutputField(ge=1, le=5)


class Grader(dspy.Module):
    def __init__(self, aspect: str):
        super().__init__()
        self.aspect = aspect
        self.grade = dspy.ChainOfThought(Grade)

    def forward(self, essay: str):
        return self.grade(essay=essay, aspect=self.aspect)


class Panel(dspy.Module):
    def __init__(self):
        super().__init__()
        self.graders = [Grader(aspect) for aspect in ("style", "content", "grammar")]
        self.writers = {"summary": dspy.Predict("essay, grades: list[int] -> summary")}

    def forward(self, essay: str):
        grades = [grader(essay=essay).grade for grader in self.graders]
        summary = self.writers["summary"](essay=essay, grades=grades)
        return dspy.Prediction(grades=grades, summary=summary.summary)


panel = Panel()
essays = [
    dspy.Example(essay="Cats sleep a lot.", mean=3).with_inputs("essay"),
    dspy.Example(essay="Dogs bark.", mean=2).with_inputs("essay"),
    dspy.Example(essay="A bear lived in Bern for many years.", mean=4).with_inputs("essay"),
]


def close(gold, pred, trace=None, pred_name=None, pred_trace=None):
    mean = sum(pred.grades) / len(pred.grades)
    score = 1 - abs(gold.mean - mean) / 4
    feedback = f"The mean grade is {mean}, but it should be {gold.mean}."
    return dspy.Prediction(score=score, feedback=feedback)


if __name__ == "__main__":
    with dspy.context(lm=dspy.LM("openai/gpt-4o-mini")):
        parallel = dspy.Parallel(num_threads=2)
        print(parallel([(panel, example) for example in essays]))

    gepa = dspy.GEPA(metric=close, auto="light", reflection_lm=dspy.LM("openai/gpt-4o"), track_stats=True)
    better = gepa.compile(student=panel, trainset=essays[:2], valset=essays[2:])
