"""Twelve DSPy programs of different kinds, as users of DSPy write them, with data and a metric."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import dspy
import pydantic


@dataclass(frozen=True)
class Case:
    """A program with its examples.

    Args:
        name: what kind of program it is.
        make: makes the module.
        examples: makes examples with inputs, from the number of the first one.
        metric: scores a prediction, in DSPy's form.
        values: the right outputs, by the name of the field, for the last turn of a prompt.
        is_async: whether its module has only `aforward`.
        max_calls: the maximum number of LM calls of a run, where the code does not tell it.
    """

    name: str
    make: Callable[[], dspy.Module]
    examples: Callable[[int], dspy.Example]
    metric: Callable[..., Any]
    values: Callable[[str], Mapping[str, str]]
    is_async: bool = False
    max_calls: int | None = None

    def data(self, count: int, first: int = 0) -> list[dspy.Example]:
        """Make examples."""
        return [self.examples(number) for number in range(first, first + count)]


# --- 1: a typed signature


class Emotion(dspy.Signature):
    """Classify the emotion of a message."""

    message: str = dspy.InputField(desc="a text of a customer")
    emotion: Literal["joy", "anger"] = dspy.OutputField()
    sure: bool = dspy.OutputField(desc="whether the message is clear")


def _emotion(number: int) -> dspy.Example:
    word = ("thanks", "awful")[number % 2]
    label = ("joy", "anger")[number % 2]
    return dspy.Example(message=f"Parcel {number}: {word}!", emotion=label, sure=True).with_inputs(
        "message"
    )


def _emotion_values(turn: str) -> Mapping[str, str]:
    return {"emotion": "joy" if "thanks" in turn else "anger", "sure": "True"}


def same_emotion(example: dspy.Example, pred: Any, trace: Any = None) -> bool:
    return example.emotion == pred.emotion


# --- 2: a string signature


def _sum(number: int) -> dspy.Example:
    return dspy.Example(question=f"What is {number} + 1?", answer=number + 1).with_inputs(
        "question"
    )


def _sum_values(turn: str) -> Mapping[str, str]:
    number = int(turn.partition("What is ")[2].partition(" ")[0])
    return {"answer": str(number + 1), "reasoning": f"{number} and one more"}


def same_answer(example: dspy.Example, pred: Any, trace: Any = None) -> float:
    return float(str(example.answer) == str(pred.answer))


def answer_with_feedback(
    gold: dspy.Example,
    pred: Any,
    trace: Any = None,
    pred_name: str | None = None,
    pred_trace: Any = None,
) -> dspy.Prediction:
    right = str(gold.answer) == str(pred.answer)
    feedback = "Right." if right else f"The answer is {gold.answer}."
    return dspy.Prediction(score=float(right), feedback=feedback)


# --- 4: several hops with retrieval

PASSAGES = [f"City {number} lies on river {number % 4}." for number in range(40)] + [
    f"River {number} flows into sea {number}." for number in range(4)
]


def search(query: str, k: int = 2) -> list[str]:
    words = set(query.lower().replace("?", "").replace(".", "").split())
    scored = [len(words & set(text.lower().replace(".", "").split())) for text in PASSAGES]
    order = sorted(range(len(PASSAGES)), key=lambda place: (-scored[place], place))
    return [PASSAGES[place] for place in order[:k]]


class MultiHop(dspy.Module):
    def __init__(self, hops: int = 2) -> None:
        super().__init__()
        self.generate_query = [
            dspy.ChainOfThought("context: list[str], question -> query") for _ in range(hops)
        ]
        self.generate_answer = dspy.ChainOfThought("context: list[str], question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        context: list[str] = []
        for hop in self.generate_query:
            query = hop(context=context, question=question).query
            context = list(dict.fromkeys([*context, *search(query)]))
        answer = self.generate_answer(context=context, question=question)
        return dspy.Prediction(context=context, answer=answer.answer)


def _hops(number: int) -> dspy.Example:
    question = f"Into which sea does the river of city {number} flow?"
    return dspy.Example(question=question, answer=f"sea {number % 4}").with_inputs("question")


def _hop_values(turn: str) -> Mapping[str, str]:
    number = turn.rpartition("city ")[2].partition(" ")[0]
    river = turn.partition(f"City {number} lies on river ")[2].partition(".")[0]
    query = f"River {river} flows" if river else f"City {number}"
    return {"reasoning": "step by step", "query": query, "answer": f"sea {river}"}


# --- 5: an agent with two tools


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: {10 + len(city)} degrees"


def convert(degrees: int) -> str:
    """Convert degrees to Fahrenheit."""
    return str(int(degrees) * 9 // 5 + 32)


CITIES = ("Rome", "Oslo", "Lisbon", "Vienna", "Bern", "Athens", "Paris", "London", "Kiev", "Riga")


def _weather(number: int) -> dspy.Example:
    city = CITIES[number % len(CITIES)] + "x" * (number // len(CITIES))
    degrees = (10 + len(city)) * 9 // 5 + 32
    return dspy.Example(question=f"Fahrenheit in {city}?", answer=str(degrees)).with_inputs(
        "question"
    )


def _weather_values(turn: str) -> Mapping[str, str]:
    city = turn.partition("Fahrenheit in ")[2].partition("?")[0]
    degrees = turn.partition(f"{city}: ")[2].partition(" ")[0]
    if "tool_name_1" in turn:
        step = {"next_tool_name": "finish", "next_tool_args": "{}"}
    elif "tool_name_0" in turn:
        step = {"next_tool_name": "convert", "next_tool_args": f'{{"degrees": {degrees}}}'}
    else:
        step = {"next_tool_name": "get_weather", "next_tool_args": f'{{"city": "{city}"}}'}
    found = turn.rpartition("[[ ## observation_1 ## ]]\n")[2].partition("\n")[0]
    return {"next_thought": "on it", "reasoning": "from the tools", "answer": found, **step}


# --- 6: modules in lists and dicts


class Draft(dspy.Module):
    def __init__(self, style: str) -> None:
        super().__init__()
        self.style = style
        self.write = dspy.Predict("topic, style -> draft")

    def forward(self, topic: str) -> str:
        draft: str = self.write(topic=topic, style=self.style).draft
        return draft


class Editorial(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.writers = [Draft("short"), Draft("long")]
        self.checks = {
            "facts": dspy.Predict("draft -> ok: bool"),
            "tone": dspy.Predict("draft -> ok"),
        }
        self.pick = dspy.ChainOfThought("drafts: list[str] -> answer")

    def forward(self, topic: str) -> dspy.Prediction:
        drafts = [writer(topic=topic) for writer in self.writers]
        kept = [draft for draft in drafts if self.checks["facts"](draft=draft).ok]
        self.checks["tone"](draft=drafts[0])
        return self.pick(drafts=kept or drafts)


def _topic(number: int) -> dspy.Example:
    return dspy.Example(topic=f"topic {number}", answer=f"on topic {number}").with_inputs("topic")


def _topic_values(turn: str) -> Mapping[str, str]:
    found = re.search(r"topic (\d+)", turn)
    text = f"on topic {found[1]}" if found else "on no topic"
    return {"draft": text, "ok": "True", "reasoning": "the first", "answer": text}


# --- 7: async


class AsyncPair(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.Predict("question -> reasoning")
        self.answer = dspy.Predict("question, reasoning -> answer")

    async def aforward(self, question: str) -> dspy.Prediction:
        thought = await self.think.acall(question=question)
        return await self.answer.acall(question=question, reasoning=thought.reasoning)


# --- 8: models of pydantic


class Item(pydantic.BaseModel):
    name: str
    count: int = pydantic.Field(ge=0)


class Order(pydantic.BaseModel):
    items: list[Item]
    urgent: bool = False


class ReadOrder(dspy.Signature):
    """Read an order out of a mail."""

    mail: str = dspy.InputField()
    order: Order = dspy.OutputField()
    tags: list[str] = dspy.OutputField()


def _order(number: int) -> dspy.Example:
    order = Order(items=[Item(name="nut", count=number)])
    return dspy.Example(mail=f"Please send {number} nuts.", order=order, tags=["nuts"]).with_inputs(
        "mail"
    )


def _order_values(turn: str) -> Mapping[str, str]:
    number = turn.rpartition("Please send ")[2].partition(" ")[0]
    order = f'{{"items": [{{"name": "nut", "count": {number}}}], "urgent": false}}'
    return {"order": order, "tags": '["nuts"]'}


def same_order(example: dspy.Example, pred: Any, trace: Any = None) -> bool:
    return bool(example.order == pred.order)


# --- 9: enums


class Team(enum.Enum):
    BILLING = "billing"
    SHIPPING = "shipping"


class Route(dspy.Signature):
    """Route a ticket."""

    ticket: str = dspy.InputField()
    team: Team = dspy.OutputField()


class Router(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.route = dspy.ChainOfThought(Route, temperature=0.0)

    def forward(self, ticket: str) -> dspy.Prediction:
        return self.route(ticket=ticket)


def _ticket(number: int) -> dspy.Example:
    team = (Team.BILLING, Team.SHIPPING)[number % 2]
    word = ("invoice", "parcel")[number % 2]
    return dspy.Example(ticket=f"My {word} {number} is missing", team=team).with_inputs("ticket")


def _ticket_values(turn: str) -> Mapping[str, str]:
    return {"reasoning": "by the noun", "team": "billing" if "invoice" in turn else "shipping"}


def same_team(example: dspy.Example, pred: Any, trace: Any = None) -> bool:
    # After a file of JSON, the label is the value of the member.
    return pred.team in (example.team, Team(getattr(example.team, "value", example.team)))


# --- 10: a loop


class Countdown(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = dspy.Predict("number: int -> lower: int, done: bool")

    def forward(self, number: int) -> dspy.Prediction:
        steps, done = 0, False
        while not done and steps < 5:
            found = self.step(number=number)
            number, done = found.lower, found.done
            steps += 1
        return dspy.Prediction(answer=number, steps=steps)


def _countdown(number: int) -> dspy.Example:
    return dspy.Example(number=100 * number + 3, answer=100 * number).with_inputs("number")


def _countdown_values(turn: str) -> Mapping[str, str]:
    number = int(turn.rpartition("[[ ## number ## ]]\n")[2].split()[0])
    return {"lower": str(number - 1), "done": str((number - 1) % 100 == 0)}


# --- 11: images


class Look(dspy.Signature):
    """Name the colour of the picture."""

    picture: dspy.Image = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


_PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # noqa: E501


def _picture(number: int) -> dspy.Example:
    image = dspy.Image(url=_PIXEL if number % 2 else f"https://pictures.test/{number}.png")
    return dspy.Example(
        picture=image, question=f"Which colour, {number}?", answer=f"red {number}"
    ).with_inputs("picture", "question")


def _picture_values(turn: str) -> Mapping[str, str]:
    return {"answer": f"red {turn.rpartition('Which colour, ')[2].partition('?')[0]}"}


# --- 12: a conversation so far


class Chat(dspy.Signature):
    """Answer the user."""

    history: dspy.History = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Assistant(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reply = dspy.Predict(Chat)

    def forward(self, question: str, history: dspy.History) -> dspy.Prediction:
        return self.reply(question=question, history=history)


def _chat(number: int) -> dspy.Example:
    turns = [{"question": f"I am number {number}.", "answer": "Hello!"}]
    return dspy.Example(
        question=f"Who am I, {number}?",
        history=dspy.History(messages=turns),
        answer=f"number {number}",
    ).with_inputs("question", "history")


def _chat_values(turn: str) -> Mapping[str, str]:
    return {"answer": f"number {turn.rpartition('Who am I, ')[2].partition('?')[0]}"}


CASES = [
    Case("typed", lambda: dspy.Predict(Emotion), _emotion, same_emotion, _emotion_values),
    Case("string", lambda: dspy.Predict("question -> answer: int"), _sum, same_answer, _sum_values),
    Case(
        "chain-of-thought",
        lambda: dspy.ChainOfThought("question -> answer"),
        _sum,
        answer_with_feedback,
        _sum_values,
    ),
    Case("multi-hop", MultiHop, _hops, same_answer, _hop_values),
    Case(
        "react",
        lambda: dspy.ReAct("question -> answer", tools=[get_weather, convert], max_iters=4),
        _weather,
        same_answer,
        _weather_values,
    ),
    Case("nested", Editorial, _topic, same_answer, _topic_values, max_calls=12),
    Case("async", AsyncPair, _sum, same_answer, _sum_values, is_async=True),
    Case("pydantic", lambda: dspy.Predict(ReadOrder), _order, same_order, _order_values),
    Case("enum", Router, _ticket, same_team, _ticket_values),
    Case("loop", Countdown, _countdown, same_answer, _countdown_values, max_calls=10),
    Case("images", lambda: dspy.Predict(Look), _picture, same_answer, _picture_values),
    Case("history", Assistant, _chat, same_answer, _chat_values),
]

BY_NAME = {case.name: case for case in CASES}
