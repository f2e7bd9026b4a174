"""Read an invoice into a pydantic model."""

import datetime
from typing import Optional

import dspy
import pydantic


class Position(pydantic.BaseModel):
    product: str
    amount: int = pydantic.Field(description="number of pieces", ge=1)
    price: float


class Invoice(pydantic.BaseModel):
    customer: str
    date: Optional[datetime.date] = None
    positions: list[Position]


class ReadInvoice(dspy.Signature):
    """Read the data of an invoice."""

    text: str = dspy.InputField(desc="the text of the invoice")
    invoice: Invoice = dspy.OutputField()
    problems: list[str] = dspy.OutputField(desc="what is missing or cannot be right")


class Reader(dspy.Module):
    def __init__(self):
        super().__init__()
        self.read = dspy.ChainOfThought(ReadInvoice)
        self.check = dspy.Predict("text, invoice: Invoice -> correct: bool")

    def forward(self, text):
        read = self.read(text=text)
        checked = self.check(text=text, invoice=read.invoice)
        return dspy.Prediction(invoice=read.invoice, problems=read.problems, correct=checked.correct)


reader = Reader()
dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"), adapter=dspy.JSONAdapter())

if __name__ == "__main__":
    result = reader(text="Ann Lee, 2 lamps at 20.00, 3 May 2026")
    print(result.invoice.positions[0].price, result.toDict())
