"""Write a slogan, and rewrite it until a critic has nothing left to say."""

import dspy


class Draft(dspy.Signature):
    """Write a slogan for a product."""

    product: str = dspy.InputField()
    slogan: str = dspy.OutputField(desc="at most ten words")


class Criticize(dspy.Signature):
    """Say what is wrong with a slogan."""

    product: str = dspy.InputField()
    slogan: str = dspy.InputField()
    good: bool = dspy.OutputField()
    critique: str = dspy.OutputField()


class Rewrite(dspy.Signature):
    """Rewrite a slogan so that the critique no longer holds."""

    product: str = dspy.InputField()
    slogan: str = dspy.InputField()
    critique: str = dspy.InputField()
    better_slogan: str = dspy.OutputField()


class Slogans(dspy.Module):
    def __init__(self, max_rounds: int = 3):
        super().__init__()
        self.max_rounds = max_rounds
        self.draft = dspy.Predict(Draft)
        self.criticize = dspy.ChainOfThought(Criticize)
        self.rewrite = dspy.Predict(Rewrite)

    def forward(self, product: str) -> dspy.Prediction:
        slogan = self.draft(product=product).slogan
        rounds = 0
        while rounds < self.max_rounds:
            verdict = self.criticize(product=product, slogan=slogan)
            if verdict.good and rounds > 0:
                break
            slogan = self.rewrite(
                product=product,
                slogan=slogan,
                critique=verdict.critique,
            ).better_slogan
            rounds += 1
        return dspy.Prediction(slogan=slogan, rounds=rounds)


def short_enough(args, pred):
    return 1.0 if len(pred.slogan.split()) <= 10 else 0.0


slogans = Slogans()
best = dspy.BestOfN(module=Slogans(), N=3, reward_fn=short_enough, threshold=1.0)

if __name__ == "__main__":
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    print(best(product="a lamp").slogan)
