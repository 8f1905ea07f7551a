"""The demo task: customers' messages to a shop, turned into strict JSON.

    python -m shared.data make          writes the orders-*.jsonl files and MANIFEST.json

A message is an order or a support request. It may hold distractors (another person, another number, another
product), optional details, and quantities as digits or as words (up to twenty, and the tens). The answer is one line
of JSON, words as they stand:

    {"type": "order", "name": ..., "item": ..., "quantity": N, "city": ..., "date": ...}     city, date may be null
    {"type": "support", "name": ..., "item": ..., "problem": ..., "order": N}                order may be null

An item is an article code and a word (`K24 kettles`), a city a postcode and a name (`5576 Portland`): right after a
quotation mark a word can fall into other tokens than after a space; behind a code it keeps its own.

Two worlds that share no phrasing, name, item, city, date, quantity, problem or distractor are there:
TRAIN and HELDOUT in shared/data/phrasings.py. `orders-heldout.jsonl` is the second world; `orders-seen.jsonl` puts the
second world's names and values into the first world's phrasings, so that the two kinds of generalisation can be told
apart.
All text is made here by templates, from word lists written for this course.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from shared.data.phrasings import HELDOUT, SEEN_PHRASINGS, TRAIN, World
from shared.data.wordlists import NUMBER_WORDS

DATA_DIR = Path(__file__).resolve().parent
PROMPT = "Message: {message}\nJSON:"
INSTRUCTION = (
    "Turn the customer's message into one line of JSON. Keys of an order: type, name, item, quantity, city, date. "
    "Keys of a support request: type, name, item, problem, order. Copy the words as they stand, write quantities "
    "in digits, write null for what is not mentioned."
)


def render_quantity(quantity: int, item: str, style: str) -> str:
    """`3, 'tables', 'words'` -> `three tables`. Styles: digits, words, times (3 x tables), dozen."""
    if style == "times":
        return f"{quantity} x {item}"
    if style == "dozen" and quantity in (6, 12, 24):
        return {6: "half a dozen ", 12: "a dozen ", 24: "two dozen "}[quantity] + item
    if style == "words" and (quantity <= 20 or quantity % 10 == 0):
        return f"{NUMBER_WORDS[quantity]} {item}"
    return f"{quantity} {item}"


def make_example(world: World, rng: random.Random) -> dict[str, str]:
    """One example of `world`: prompt, completion, and the phrasings it was made of (joined by ' | ')."""
    values = world.values
    used: list[str] = []

    def phrase(choices: Sequence[str], **slots: object) -> str:
        used.append(rng.choice(choices))
        return used[-1].format(**slots)

    name = f"{rng.choice(values.first_names)} {rng.choice(values.last_names)}"
    item = f"{rng.choice(values.codes)} {rng.choice(values.things)}"
    details = []
    if rng.random() < 0.6:
        quantity = rng.choice(values.quantities)
        item += "s" if quantity > 1 else ""
        answer: dict[str, object] = {"type": "order", "name": name, "item": item, "quantity": quantity}
        answer |= {"city": None, "date": None}
        style = rng.choice(("digits", "words", "words", "times", "dozen"))
        core = phrase(world.orders, items=render_quantity(quantity, item, style))
        if rng.random() < 0.6:
            answer["city"] = f"{rng.choice(values.postcodes)} {rng.choice(values.cities)}"
            details.append(phrase(world.cities, city=answer["city"]))
        if rng.random() < 0.5:
            answer["date"] = rng.choice(values.dates)
            details.append(phrase(world.dates, date=answer["date"]))
        if rng.random() < 0.3:
            details.reverse()
    else:
        answer = {"type": "support", "name": name, "item": item, "problem": rng.choice(values.problems), "order": None}
        core = phrase(world.supports, item=item, problem=answer["problem"])
        if rng.random() < 0.6:
            answer["order"] = rng.choice(values.order_numbers)
            details.append(phrase(world.order_numbers, order=answer["order"]))
    if rng.random() < 0.4:
        distractor = phrase(
            world.distractors,
            other=rng.choice([first for first in values.first_names if first not in name]),
            number=rng.choice(values.years),
            phone=rng.choice(values.phones),
            old=f"{rng.choice(values.kinds)} {rng.choice([thing for thing in values.things if thing not in item])}",
        )
        details.insert(rng.randrange(len(details) + 1), distractor)
    if rng.random() < 0.5:
        opening = f"{phrase(world.greetings)} {phrase(world.introductions, name=name)}"
        parts = [opening[0].upper() + opening[1:], core, *details]
    else:
        greeting = [phrase(world.greetings)] if rng.random() < 0.5 else []
        parts = [*greeting, core, *details, phrase(world.signatures, name=name)]
    return {
        "prompt": PROMPT.format(message=" ".join(parts)),
        "completion": " " + json.dumps(answer),
        "phrasing": " | ".join(used),
    }


def make_examples(world: World, count: int, seed: int) -> list[dict[str, str]]:
    """`count` different examples of `world`, the same for the same seed."""
    rng = random.Random(seed)
    examples: dict[str, dict[str, str]] = {}
    while len(examples) < count:
        example = make_example(world, rng)
        examples.setdefault(example["prompt"], example)
    return list(examples.values())


FILES = {
    "orders-train.jsonl": (TRAIN, 2400, 1),
    "orders-heldout.jsonl": (HELDOUT, 400, 2),
    "orders-seen.jsonl": (SEEN_PHRASINGS, 400, 3),
}
