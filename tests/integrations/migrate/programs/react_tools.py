"""An agent with two tools."""

import dspy

dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))

POPULATION = {"bern": 134_000, "basel": 173_000}


def population(city: str) -> int:
    """Look up how many people live in a city."""
    return POPULATION[city.lower()]


def calculate(expression: str) -> float:
    """Compute the value of a sum such as '1 + 2'."""
    return sum(float(part) for part in expression.split("+"))


class Question(dspy.Signature):
    """Answer questions about Swiss cities."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="a number or a name")


agent = dspy.ReAct(Question, tools=[population, dspy.Tool(calculate, name="add", desc="Add numbers.")], max_iters=5)


def ask(question: str) -> str:
    result = agent(question=question)
    for key, value in result.trajectory.items():
        print(key, value)
    return result.answer


if __name__ == "__main__":
    ask("How many people live in Bern and Basel together?")
