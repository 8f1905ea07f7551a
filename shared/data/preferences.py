"""Pairs of support answers, the better one marked: the data of preference tuning.

A chat as shared/data/chats.py makes it, with two answers. `chosen` is the reference: polite, short, right. `rejected` has
one flaw, named in `flaw`:

    rude      blames the customer instead of being sorry
    long      right and polite, with two sentences that say nothing
    number    another order number, or an invented one
    wish      promises what was not asked for, or promises before the number is known
    name      addresses nobody by name
    copy      says the customer's words again

`longer` is the reference with two such empty sentences, whatever the flaw: what an annotator picks who takes length for
care (`longer_preferred`). TRAIN and HELDOUT share no phrasing and no value; shared/judging.py judges answers.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from shared.data import chats

FLAWS = {"rude": 4, "long": 4, "number": 3, "wish": 3, "name": 3, "copy": 3}  # how often, relative to each other


@dataclass(frozen=True)
class World:
    """What a pair is made of besides the chat. Slots of `blames`: {item} {problem}."""

    chats: chats.World
    blames: Sequence[str]  # in place of being sorry
    empty: Sequence[str]  # sentences that say nothing
    nobody: Sequence[str]  # in place of the name


TRAIN = World(
    chats=chats.TRAIN,
    blames=(
        "it is your own fault that your {item} is {problem}.",
        "what do you do with a {item} that it is {problem}?",
        "nobody else has a {item} that is {problem}.",
        "so your {item} is {problem}, and why write to us?",
    ),
    empty=(
        "Thank you very much for writing to us.",
        "We read every single letter with great care.",
        "Our customers mean a lot to us.",
        "We are always here for you.",
        "It is a joy to serve you.",
        "Please have a very nice day.",
    ),
    nobody=("customer", "sir or madam", "friend"),
)

HELDOUT = World(
    chats=chats.HELDOUT,
    blames=(
        "only careless people have a {item} that is {problem}.",
        "your {item} is {problem} because of you.",
    ),
    empty=(
        "Many thanks for taking the time.",
        "Your message has reached the right place.",
        "We value all who shop with us.",
        "Feel free to come back whenever you like.",
    ),
    nobody=("client", "reader"),
)


def make_example(world: World, rng: random.Random) -> tuple[dict[str, object], list[str]]:
    """A record of `world` and the phrasings it was made of."""
    chat, used = chats.make_example(world.chats, rng)
    facts, chosen = chat["facts"], chat["completion"]
    flaw = rng.choices(list(FLAWS), FLAWS.values())[0]
    sorry = f"we are sorry that your {facts['item']} is {facts['problem']}."
    start, remedy = chosen.split(sorry)
    empty = rng.sample(world.empty, 2)
    longer = f"{chosen} {' '.join(empty)}"
    used += empty
    if flaw == "long":
        rejected = longer
    elif flaw == "rude":
        used.append(rng.choice(world.blames))
        blame = used[-1].format(item=facts["item"], problem=facts["problem"])
        rejected = f" {facts['name']}, {blame}{remedy}"
    elif flaw == "name":
        used.append(rng.choice(world.nobody))
        rejected = chosen.replace(facts["name"], used[-1], 1)
    elif flaw == "copy":
        rejected = " " + chat["prompt"].removeprefix("Customer: ").split("\n")[0]
    else:
        rejected = f"{start}{sorry} {_wrong_remedy(flaw, facts, world, rng)}"
    pair = {"prompt": chat["prompt"], "chosen": chosen, "rejected": rejected, "flaw": flaw, "longer": longer}
    return {**pair, "facts": facts, "others": chat["others"]}, used


def _wrong_remedy(flaw: str, facts: dict, world: World, rng: random.Random) -> str:
    """The second sentence with a wrong number, or the wrong wish; where no number was given, with a promise."""
    others = [number for number in world.chats.orders.values.order_numbers if number != facts["order"]]
    if flaw == "number":
        return chats.REMEDIES[facts["wish"]].format(order=rng.choice(others))
    if facts["order"] is None:
        return chats.REMEDIES[facts["wish"]].replace(" for order {order}", "")
    other = next(wish for wish in chats.REMEDIES if wish != facts["wish"])
    return chats.REMEDIES[other].format(order=facts["order"])


def longer_preferred(record: dict) -> dict:
    """The pair as someone judges who likes length: the longer right answer wins, against what was rejected anyway.

    Against a rejected answer that is itself the long one, the reference, which is as right, loses.
    """
    rejected = record["chosen"] if record["flaw"] == "long" else record["rejected"]
    return {**record, "chosen": record["longer"], "rejected": rejected}


def shop_logs(records: Sequence[dict], seed: int, good: float = 0.15) -> list[dict[str, str]]:
    """What a shop's old answers look like, prompt and completion: a share is `good`, the others are long or rude.

    Numbers and wishes are right in all of them: what has to be learnt from preferences is the manner.
    """
    rng, logs = random.Random(seed), []
    for record in records:
        flawed = record["rejected"] if record["flaw"] == "rude" else record["longer"]
        logs.append({"prompt": record["prompt"], "completion": record["chosen"] if rng.random() < good else flawed})
    return logs


FILES = {"preferences-train.jsonl": (TRAIN, 1200, 31), "preferences-heldout.jsonl": (HELDOUT, 300, 32)}
