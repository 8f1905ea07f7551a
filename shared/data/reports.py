"""Reports of a shop's day and their summaries: the data of the summary task.

A report tells the city, what was sold, and what has a fault or is needed, or both; between these stand sentences that do
not belong into a summary: other people, other numbers, other products. The summary has a sentence for each fact, numbers
in digits:

    Lisbon sold 13 grey stools. One silk kettle was leaking. It needs 7 purple carpets.

TRAIN and HELDOUT share no phrasing and no value. A record holds `prompt`, `completion` (the reference summary), `facts`
(None for what the report does not tell) and `others`, words of the report that a summary must not hold;
shared/rubrics.py scores answers by these.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from shared.data.wordlists import HELDOUT_VALUES, NUMBER_WORDS, TRAIN_VALUES, Values

PROMPT = "Report: {report}\nIn short:"
INSTRUCTION = (
    "Sum up the report: which city sold how many of what; then, only if told, which article had which fault, and how many "
    "of what the city needs. Copy the words, write numbers in digits, leave everything else out."
)


@dataclass(frozen=True)
class World:
    """Everything a report can be made of. Slots: {city} {items} {item} {problem} {other} {number} {old}."""

    values: Values
    openings: Sequence[str]
    sold: Sequence[str]
    faults: Sequence[str]
    needs: Sequence[str]
    fillers: Sequence[str]


TRAIN = World(
    values=TRAIN_VALUES,
    openings=(
        "Report from {city}.",
        "{city}:",
        "This is the shop in {city}.",
        "Today in {city}:",
        "News from {city}.",
        "Here is {city}.",
        "{city} writes:",
        "Our day in {city}.",
        "{city} reports.",
        "Place: {city}.",
        "Hello from {city}.",
        "We are in {city}.",
    ),
    sold=(
        "We sold {items}.",
        "{items} went out.",
        "Customers took {items}.",
        "Sold: {items}.",
        "People bought {items}.",
        "We have sold {items} today.",
        "{items} were sold.",
        "Our customers bought {items}.",
        "Today we sold {items}.",
        "The sales were {items}.",
        "In all we sold {items}.",
        "{items} left the shop.",
        "We could sell {items}.",
        "Sales: {items}.",
        "A school bought {items}.",
        "The day brought sales of {items}.",
        "We sold no less than {items}.",
        "Buyers paid for {items}.",
        "{items} found a new home.",
        "Somebody bought {items}.",
        "A hotel took {items} with it.",
        "We handed out {items}, all paid.",
        "Visitors went home with {items}.",
        "All in all {items} were bought.",
        "The shop has sold {items}.",
    ),
    faults=(
        "One {item} was {problem}.",
        "A {item} came back {problem}.",
        "One {item} is {problem}.",
        "A customer says the {item} is {problem}.",
        "The {item} in the window is {problem}.",
        "We found one {item} {problem}.",
        "Our {item} is {problem}.",
        "A {item} arrived {problem}.",
        "Sadly one {item} is {problem}.",
        "The {item} was {problem}.",
        "We got a {item} that is {problem}.",
        "A customer brought back a {problem} {item}.",
        "There was a {problem} {item}.",
        "We have a {item} here, it is {problem}.",
        "One {problem} {item} came back.",
        "Bad luck: a {item} is {problem}.",
        "It turned out that a {item} is {problem}.",
        "Somebody brought a {item} back, it was {problem}.",
        "We noticed one {problem} {item}.",
        "A buyer returned a {item} that was {problem}.",
        "A guest complained about a {problem} {item}.",
        "One thing, a {item}, looks {problem}.",
        "A woman showed us her {item}, {problem}.",
    ),
    needs=(
        "We need {items}.",
        "Please send {items}.",
        "We want {items}.",
        "Send us {items}.",
        "We are short of {items}.",
        "Our next order is {items}.",
        "We ask for {items}.",
        "For next week we need {items}.",
        "Can we get {items}?",
        "Please order {items} for us.",
        "We run out, so send {items}.",
        "Wanted: {items}.",
        "We have to get {items}.",
        "Let us have {items}.",
        "The shop needs {items}.",
        "We could use {items}.",
        "To buy: {items}.",
        "Next time bring {items}.",
        "Could you bring us {items}?",
        "Deliver {items}, please.",
        "We would be glad to get {items}.",
        "Soon we will need {items}.",
        "We are low on {items}.",
        "Please put {items} on the next van.",
        "What we lack is {items}.",
        "Would you send {items} to us?",
    ),
    fillers=(
        "It rains here.",
        "The weather is lovely.",
        "{other} was ill.",
        "We were {number} people.",
        "{other} came late.",
        "The {old} is in the window now.",
        "We opened {number} minutes late.",
        "{other} says hello.",
        "A man asked for {number} hours about the {old}.",
        "Nobody asked for the {old}.",
        "The shop was clean.",
        "{other} has the day off.",
        "My colleague {other} was a great help.",
        "The street was closed for {number} hours.",
        "We moved the {old} to the back.",
        "We had a good day.",
        "It was quiet.",
        "{other} looked after the till.",
    ),
)

HELDOUT = World(
    values=HELDOUT_VALUES,
    openings=(
        "The {city} store.",
        "Good evening from {city}.",
        "A short note from {city}.",
        "Here are the facts from {city}.",
    ),
    sold=(
        "We managed to sell {items}.",
        "The shop sold {items}.",
        "{items} found a buyer.",
        "Visitors bought {items} from us.",
        "We have handed over {items}.",
        "Total sales: {items}.",
    ),
    faults=(
        "Unfortunately one {item} turned out {problem}.",
        "Somebody returned a {item} because it was {problem}.",
        "We noticed that a {item} is {problem}.",
        "A buyer complained: the {item} was {problem}.",
        "One of ours, a {item}, looks {problem}.",
    ),
    needs=(
        "We would like to get {items}.",
        "Please deliver {items} to us.",
        "We shall need {items} soon.",
        "Could you send {items} over?",
        "What we need is {items}.",
        "Our stock is low, please send us {items}.",
    ),
    fillers=(
        "It was a sunny morning.",
        "{other} is on holiday.",
        "I counted {number} visitors before noon.",
        "The music was too loud.",
        "{other} cleaned the windows.",
        "Some people only looked at the {old}.",
        "The bus did not run for {number} days.",
    ),
)


def in_report(quantity: int, items: str, rng: random.Random) -> str:
    """`3, 'red lamps'` -> `3 red lamps` or, for numbers up to twenty, now and then `three red lamps`."""
    in_words = quantity <= 20 and rng.random() < 0.25
    return f"{NUMBER_WORDS[quantity] if in_words else quantity} {items}"


def make_example(world: World, rng: random.Random) -> tuple[dict[str, object], list[str]]:
    """A record of `world` and the phrasings it was made of."""
    values, used = world.values, []

    def phrase(choices: Sequence[str], **slots: object) -> str:
        used.append(rng.choice(choices))
        text = used[-1].format(**slots)
        return text[0].upper() + text[1:]

    things = rng.sample(values.things, 4)  # no thing stands twice: what belongs to what can be told from the word
    sold, fault, needed, old = (f"{rng.choice(values.kinds)} {thing}" for thing in things)
    amounts = rng.sample([quantity for quantity in values.quantities if quantity > 1], 2)
    city, problem = rng.choice(values.cities), rng.choice(values.problems)
    facts: dict[str, object] = {"city": city, "sold": f"{amounts[0]} {sold}s", "fault": None, "needs": None}
    parts = [phrase(world.sold, items=in_report(amounts[0], f"{sold}s", rng))]
    summary = f"{city} sold {facts['sold']}."
    besides = rng.choice(("fault", "fault", "needs", "needs", "both"))
    if besides != "needs":
        facts["fault"] = [fault, problem]
        parts.append(phrase(world.faults, item=fault, problem=problem))
        summary += f" One {fault} was {problem}."
    if besides != "fault":
        facts["needs"] = f"{amounts[1]} {needed}s"
        parts.append(phrase(world.needs, items=in_report(amounts[1], f"{needed}s", rng)))
        summary += f" It needs {facts['needs']}."
    rng.shuffle(parts)
    other, number = rng.choice(values.first_names), rng.choice([n for n in values.years if n not in amounts])
    others: list[str] = []
    for filler in rng.sample(world.fillers, rng.choice((1, 1, 2))):
        parts.insert(rng.randrange(len(parts) + 1), phrase([filler], other=other, number=number, old=old))
        slots = (("{other}", other), ("{number}", str(number)), ("{old}", old))
        others += [value for slot, value in slots if slot in filler]
    report = " ".join([phrase(world.openings, city=city), *parts])
    record = {
        "prompt": PROMPT.format(report=report),
        "completion": f" {summary}",
        "facts": facts,
        "others": sorted(set(others)),
    }
    return record, used


FILES = {"reports-train.jsonl": (TRAIN, 1200, 11), "reports-heldout.jsonl": (HELDOUT, 300, 12)}
