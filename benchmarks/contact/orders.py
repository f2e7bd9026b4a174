"""Write `orders.jsonl`: order e-mails and their contents, made from templates with a fixed seed.

python -m contact.orders
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "orders.jsonl"

_NAMES = ("Maria Lopez", "Tom Becker", "Aisha Khan", "Liam O'Connor", "Yuki Tanaka", "Eva Novak")
_CITIES = ("Lisbon", "Hamburg", "Leeds", "Dublin", "Osaka", "Brno")
_PRODUCTS = (
    ("desk lamp", 24.5),
    ("oak shelf", 89.0),
    ("coffee grinder", 39.9),
    ("wool blanket", 54.0),
    ("notebook", 3.2),
    ("garden chair", 46.75),
)
_OPENINGS = (
    "Hello, this is {customer} from {city}.",
    "Hi! {customer} here, writing from {city}.",
    "Dear team, my name is {customer} and I live in {city}.",
)
_LINES = (
    "I would like {items}.",
    "Please send me {items}.",
    "Could you ship {items} to me?",
)
_DELIVERIES = {
    "standard": ("Standard delivery is fine.", "No hurry, the normal post will do."),
    "express": ("I need it fast: express delivery, please.", "Please send it by express."),
}


def order(numbers: random.Random) -> dict[str, Any]:
    """Make one e-mail with its order."""
    customer, city = numbers.choice(_NAMES), numbers.choice(_CITIES)
    chosen = numbers.sample(_PRODUCTS, numbers.randint(1, 3))
    items = [
        {"product": name, "quantity": numbers.randint(1, 6), "unit_price": price}
        for name, price in chosen
    ]
    delivery = numbers.choice(sorted(_DELIVERIES))
    texts = [
        f"{item['quantity']} x {item['product']} at {item['unit_price']:.2f} euros each"
        for item in items
    ]
    listed = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    email = " ".join(
        (
            numbers.choice(_OPENINGS).format(customer=customer, city=city),
            numbers.choice(_LINES).format(items=listed),
            numbers.choice(_DELIVERIES[delivery]),
        )
    )
    contents = {"customer": customer, "city": city, "items": items, "delivery": delivery}
    return {"email": email, "order": contents}


def main() -> None:
    numbers = random.Random(7)
    lines = [json.dumps(order(numbers), ensure_ascii=False) for _ in range(20)]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
