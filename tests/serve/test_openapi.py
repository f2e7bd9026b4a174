"""The OpenAPI document has the types of the programs, and is a valid one."""

from __future__ import annotations

from typing import Any

import pydantic
from helpers.served import app_of, client_of, served

import lmpipe


class Item(pydantic.BaseModel):
    name: str
    price: float


class Order(lmpipe.Signature):
    """Read an order."""

    text: str = lmpipe.Input(desc="the letter")
    known: list[Item] = lmpipe.Input(default=[])
    items: list[Item] = lmpipe.Output(desc="what was ordered")


async def document_of(*runs: Any, **options: Any) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {options['keys'][0]}"} if options.get("keys") else {}
    async with client_of(app_of(*runs, **options)) as client:
        found: dict[str, Any] = (await client.get("/openapi.json", headers=headers)).json()
    return found


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


async def test_inputs_and_outputs_are_schemas_of_the_signature() -> None:
    document = await document_of(served(lmpipe.Predict(Order), name="order"))
    operation = document["paths"]["/v1/programs/order"]["post"]
    assert operation["description"] == "Read an order."
    schemas = document["components"]["schemas"]
    inputs, outputs = schemas["order.inputs"], schemas["order.outputs"]
    assert inputs["required"] == ["text"]
    assert inputs["properties"]["text"] == {"type": "string", "description": "the letter"}
    assert inputs["additionalProperties"] is False
    assert outputs["properties"]["items"]["items"] == {"$ref": "#/components/schemas/order.Item"}
    assert outputs["properties"]["items"]["description"] == "what was ordered"


async def test_all_references_lead_to_schemas_of_the_document() -> None:
    runs = [served(lmpipe.Predict(Order), name=name) for name in ("order", "other")]
    document = await document_of(*runs, served())
    found = references(document)
    assert "#/components/schemas/other.Item" in found
    for reference in found:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


async def test_keys_are_named_as_a_security_scheme() -> None:
    key = "a-key-of-a-client"
    document = await document_of(keys=[key])
    assert document["security"] == [{"key": []}]
    assert "security" not in await document_of()
    assert key not in str(document)


async def test_the_page_talks_to_nobody_else() -> None:
    async with client_of(app_of()) as client:
        page = await client.get("/docs")
        home = await client.get("/")
    assert home.headers["location"] == "/docs"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text


class Note(pydantic.BaseModel):
    text: str

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def words(self) -> int:
        """The number of words."""
        return len(self.text.split())


class Keep(lmpipe.Module):
    def forward(self, notes: list[Note]) -> list[Note]:
        return notes


async def test_a_type_of_inputs_and_outputs_has_its_computed_fields_in_outputs_only() -> None:
    document = await document_of(served(Keep(), name="keep"))
    schemas = document["components"]["schemas"]
    (taken,) = references(schemas["keep.inputs"])
    (given,) = references(schemas["keep.outputs"])
    assert schemas[taken.rpartition("/")[2]]["required"] == ["text"]
    assert schemas[given.rpartition("/")[2]]["required"] == ["text", "words"]
