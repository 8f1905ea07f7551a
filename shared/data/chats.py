"""Chats between a customer and a shop's support: the data of the support task.

A customer says who it is, what is wrong with which article, and what is wanted: a new one or the money back. The number of
the order stands in the message, comes after the shop has asked for it, or is missing. The answer is polite and short; it
names customer, article and fault, and grants the wish for the order, or asks for the number:

    Dear Alice Stone, we are sorry that your silk kettle is leaking. We will send a new one for order 1003.
    Dear Otto Webb, we are sorry that your brass tent is dented. Please tell us your order number.

TRAIN and HELDOUT share no phrasing and no value; most phrasings are those of the orders. A record holds `prompt`,
`completion` (the reference answer), `facts` and `others`, words of the chat that an answer must not hold;
shared/rubrics.py scores answers by these. `to_messages` makes a record with roles of it, for a chat template.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.data import phrasings

SYSTEM = "You are the support of a shop. Answer politely, in two short sentences."
INSTRUCTION = (
    "Answer as the shop, in two short sentences: address the customer by the full name and say sorry for the article's "
    "fault; then promise a new one or the money back, as asked, for the order by its number, or ask for a missing number."
)
REMEDIES = {
    "new one": "We will send a new one for order {order}.",
    "money back": "You get your money back for order {order}.",
}
NO_NUMBER = "Please tell us your order number."


@dataclass(frozen=True)
class World:
    """What a chat is made of besides the phrasings of the orders. Slots: {item} {order}."""

    orders: phrasings.World
    wishes: dict[str, Sequence[str]]
    questions: Sequence[str]  # the shop asks for the number ...
    replies: Sequence[str]  # ... and the customer gives it


TRAIN = World(
    orders=phrasings.TRAIN,
    wishes={
        "new one": (
            "Please send a new one.",
            "I want a new one.",
            "Can I get a new one?",
            "We need a new one.",
            "Send me a new one.",
            "I would like a new one, please.",
            "Is there a new one for me?",
            "Please give me a new one.",
            "I hope for a new one.",
            "We ask for a new one.",
            "It has to be a new one.",
            "Could you bring a new one?",
        ),
        "money back": (
            "I want my money back.",
            "Please send my money back.",
            "Can I get my money back?",
            "We need the money back.",
            "Give me my money back.",
            "I would like my money back, please.",
            "Is there a way to get the money back?",
            "Please give us the money back.",
            "I hope to get my money back.",
            "We ask for our money back.",
            "My money back, please.",
            "Could you pay the money back?",
        ),
    },
    questions=(
        "What is your order number?",
        "Please tell us your order number.",
        "Which order was it?",
        "Can you give me the order number?",
        "Thank you. What was the order number?",
        "Sorry to hear that. What is the number of your order?",
    ),
    replies=(
        "It is {order}.",
        "{order}.",
        "The number is {order}.",
        "Order {order}.",
        "I think {order}.",
        "My order was {order}.",
    ),
)

HELDOUT = World(
    orders=phrasings.HELDOUT,
    wishes={
        "new one": (
            "A new one would be right.",
            "All I want is a new one.",
            "When do I get a new one?",
            "Do send me a new one soon.",
        ),
        "money back": (
            "I'd rather have my money back.",
            "All I want is the money back.",
            "When will I see my money back?",
            "Do pay my money back soon.",
        ),
    },
    questions=(
        "Could you tell us the number of the order?",
        "I need your order number, please.",
        "Under which number did you order?",
    ),
    replies=("You find it as {order}.", "Here it is: {order}.", "That was order {order}, I believe."),
)


def make_example(world: World, rng: random.Random) -> tuple[dict[str, object], list[str]]:
    """A record of `world` and the phrasings it was made of."""
    orders, values, used = world.orders, world.orders.values, []

    def phrase(choices: Sequence[str], **slots: object) -> str:
        used.append(rng.choice(choices))
        return used[-1].format(**slots)

    thing, thing_before = rng.sample(values.things, 2)
    facts: dict[str, object] = {
        "name": f"{rng.choice(values.first_names)} {rng.choice(values.last_names)}",
        "item": f"{rng.choice(values.kinds)} {thing}",
        "problem": rng.choice(values.problems),
        "wish": rng.choice(list(world.wishes)),
        "order": rng.choice(values.order_numbers) if rng.random() < 0.75 else None,
    }
    fault = phrase(orders.supports, item=facts["item"], problem=facts["problem"])
    parts, others = [fault, phrase(world.wishes[facts["wish"]])], []
    asked_for = facts["order"] is not None and rng.random() < 0.4
    if facts["order"] is not None and not asked_for:
        parts.insert(rng.randrange(1, 3), phrase(orders.order_numbers, order=facts["order"]))
    if rng.random() < 0.4:
        other = rng.choice([first for first in values.first_names if first not in facts["name"]])
        slots = {
            "other": other,
            "number": rng.choice(values.years),
            "phone": rng.choice(values.phones),
            "old": f"{rng.choice(values.kinds)} {thing_before}",
        }
        parts.insert(rng.randrange(len(parts) + 1), phrase(orders.distractors, **slots))
        others = [str(value) for slot, value in slots.items() if f"{{{slot}}}" in used[-1]]
    if rng.random() < 0.5:
        parts.insert(0, phrase(orders.introductions, name=facts["name"]))
    else:
        parts.append(phrase(orders.signatures, name=facts["name"]))
    turns = [" ".join(text[0].upper() + text[1:] for text in parts)]
    if asked_for:
        turns += [phrase(world.questions), phrase(world.replies, order=facts["order"])]
    prompt = "".join(f"{('Customer', 'Shop')[i % 2]}: {turn}\n" for i, turn in enumerate(turns)) + "Shop:"
    remedy = REMEDIES[facts["wish"]].format(order=facts["order"]) if facts["order"] else NO_NUMBER
    answer = f" Dear {facts['name']}, we are sorry that your {facts['item']} is {facts['problem']}. {remedy}"
    return {"prompt": prompt, "completion": answer, "facts": facts, "others": others}, used


def to_messages(record: dict[str, object], system: str | None = SYSTEM) -> dict[str, list[dict[str, str]]]:
    """A record of this task in the messages format: customer is `user`, shop is `assistant`, the answer comes last.

    `system`: the system prompt, None for a model whose template takes none.
    """
    turns = re.findall(r"^(Customer|Shop): (.+)$", record["prompt"], re.MULTILINE)
    roles = {"Customer": "user", "Shop": "assistant"}
    messages = [{"role": roles[speaker], "content": text} for speaker, text in turns]
    messages.append({"role": "assistant", "content": record["completion"].strip()})
    return {"messages": [{"role": "system", "content": system}] * bool(system) + messages}


FILES = {"chats-train.jsonl": (TRAIN, 1200, 21), "chats-heldout.jsonl": (HELDOUT, 300, 22)}
