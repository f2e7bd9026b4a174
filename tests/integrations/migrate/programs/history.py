"""A chat that knows its earlier turns."""

import dspy


class Chat(dspy.Signature):
    """Answer as a friendly guide to the city of Bern."""

    history: dspy.History = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Guide(dspy.Module):
    def __init__(self):
        super().__init__()
        self.respond = dspy.Predict(Chat)

    def forward(self, question: str, history: dspy.History):
        return self.respond(question=question, history=history)


guide = Guide()
start = dspy.History(messages=[{"question": "Who are you?", "answer": "Your guide."}])
turns = [dspy.Example(question="Where is the bear park?", history=start).with_inputs("question", "history")]


def chat(questions: list[str]) -> list[str]:
    history = dspy.History(messages=[])
    answers = []
    for question in questions:
        outputs = guide(question=question, history=history)
        history.messages.append({"question": question, **outputs})
        answers.append(outputs.answer)
    return answers


if __name__ == "__main__":
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    print(chat(["Where is the bear park?", "When does it open?"]))
