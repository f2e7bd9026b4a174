"""The nested schema that orders are read into."""

from __future__ import annotations

from typing import Literal

import pydantic


class Address(pydantic.BaseModel):
    """Where a parcel goes."""

    street: str = pydantic.Field(description="street and house number", max_length=60)
    postcode: str = pydantic.Field(max_length=12)
    city: str = pydantic.Field(max_length=40)


class Person(pydantic.BaseModel):
    """Somebody named in an order."""

    name: str = pydantic.Field(max_length=60)
    phone: str | None = pydantic.Field(description="null if it is not given", max_length=24)


class Item(pydantic.BaseModel):
    """One product that is ordered."""

    product: str = pydantic.Field(description="without its colour", max_length=40)
    quantity: int = pydantic.Field(ge=1, le=99)
    colour: str | None = pydantic.Field(description="null if none is named", max_length=20)


class Order(pydantic.BaseModel):
    """An order."""

    buyer: Person
    recipient: Person | None = pydantic.Field(
        description="the person whom the parcel is for; null if it is the buyer"
    )
    address: Address | None = pydantic.Field(description="null if the buyer picks the goods up")
    delivery: Literal["standard", "express", "pickup"]
    items: list[Item] = pydantic.Field(description="in the order of the message", max_length=6)
