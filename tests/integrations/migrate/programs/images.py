"""Describe pictures."""

import dspy

DOT = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Describe(dspy.Signature):
    """Describe a picture for people who cannot see it."""

    picture: dspy.Image = dspy.InputField()
    length: int = dspy.InputField(desc="the most words")
    description: str = dspy.OutputField()


describe = dspy.ChainOfThought(Describe)
colour = dspy.Predict("picture: dspy.Image -> colour: str")

examples = [dspy.Example(picture=dspy.Image(DOT), length=10).with_inputs("picture", "length")]


def from_file(path: str) -> str:
    return describe(picture=dspy.Image.from_file(path), length=20).description


if __name__ == "__main__":
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    print(colour(picture=dspy.Image(DOT)).colour)
