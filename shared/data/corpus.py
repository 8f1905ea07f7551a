"""The text that falcon-tiny is pretrained on: short synthetic documents, none of them in the demo task's format.

Letters to a shop with the facts listed after them in ever-changing forms (so that the model learns to find who, what,
how many, where and when), lists said twice (copying), number words, worked additions, shop reports with a summary,
and support chats. Names and products are partly made of random syllables, so that copying is learnt and not a
vocabulary. No name, value or phrasing of the demo task's held-out world occurs here; a test proves that.
"""

import json
import random
from collections.abc import Iterator

from shared.data.wordlists import NUMBER_WORDS, PRETRAINING_VALUES, made_up_word

# Slots: {name} name, {item} product, {items} product with its quantity, {city} city, {date} date, {problem} fault, {order} reference number.
NAME = (
    "From {name}:|A note from {name}.|{name} wrote to us.|{name} called today.|Customer {name}.|Name: {name}.|Sent by {name}.|Yours truly, {name}"
    "|Kind regards, {name}|Love, {name}|With thanks, {name}|Many thanks from {name}|Bye, {name}|- {name}|I'm {name}.|The name is {name}."
    "|We spoke before, I'm {name}.|People call me {name}.|{name} asks:|A letter by {name}.|Greetings from {name}|You know me: {name}."
    "|Ask for {name}.|Please write {name} on the box.|Written by {name}|All the best, {name}|Warmly, {name}|See you, {name}|It is {name} again."
    "|It was {name} who wrote this.|You are reading a letter from {name}.|Call me {name}.|Here writes {name}.|Signature: {name}|"
    "Bye bye, {name}|Faithfully, {name}|With best wishes, {name}|Take care, {name}|Good wishes from {name}|"
    "This letter comes from {name}.|{name} needs your help.|As {name} I often order here.|You have {name} on the line.|"
    "Speaking: {name}.|I go by {name}.|Respectfully yours, {name}|Your customer {name}|Until soon, {name}|The sender is {name}."
).split("|")
ORDER = (
    "Sell me {items}.|Do you have {items}?|Send {items}.|I want {items}.|We want {items}.|We are short of {items}.|Give us {items}."
    "|I have to get {items}.|My boss needs {items}.|For my home I need {items}.|You could send {items}, I think.|It would be nice to have {items}."
    "|Wanted: {items}.|We shall buy {items}.|I am looking for {items}.|How about {items}?|Let us have {items} soon.|Get {items} ready."
    "|The school must have {items}.|What do {items} cost? I take them.|A friend asked me to buy {items}.|Make it {items}.|I was told you sell {items}. Good!"
    "|So it will be {items}.|The next order is for {items}.|{items} for me.|I could use {items}.|Wrap {items} for my wife.|Hold {items} for us."
    "|Prepare {items} for us.|We ask you for {items}.|Our kitchen lacks {items}.|Can you find {items} for me?|I hope to have {items}."
    "|I would be glad to have {items}.|Could you put {items} in a box for me?|Our firm orders {items}.|"
    "We are happy to take {items}.|It is time to order {items}.|If you can, send me {items}.|"
    "Would you keep {items} for our team?|The hotel asks for {items} from you.|My wish: {items}.|Today I buy {items}.|"
    "Is there a way to get {items}?|Please find {items} for us.|Reserve {items} in my name.|I will pay for {items}.|"
    "We run out of {items}, so please help.|I want you to pack {items}.|Please arrange that we get {items}.|"
    "I am in need of {items}, as always.|Kindly send {items} over.|Next we want {items} from you."
).split("|")
FAULT = (
    "My {item} is {problem}.|The {item} is {problem}.|Your {item} was {problem}.|The {item} has become {problem}.|This {item} seems {problem}.|I see that the {item} is {problem}."
    "|We have a {item} here that was {problem}.|Look at the {item}: {problem}!|Nobody wants a {problem} {item}.|You sold me a {problem} {item}.|Since today the {item} is {problem}."
    "|My son found the {item} {problem}.|After one day the {item} was {problem}.|What a pity, the {item} is {problem}.|It is about the {item}. It is {problem}."
    "|The {item} in the parcel was {problem}.|Is it right that the {item} is {problem}?|A {item} should not be {problem}.|Take back the {item}, it is {problem}."
    "|On its way the {item} got {problem}.|Bad news: {problem} {item}.|The {item} we got from you looks {problem}.|I paid for a {item} and got it {problem}."
    "|Yesterday the {item} came, and it was {problem}.|When I looked at the {item}, it was {problem}.|The {item} reached us {problem}.|"
    "Oh no, my {item} is {problem} again.|To my regret the {item} is {problem}.|This is a {item} that is {problem}.|"
    "I have one {item} which is {problem}.|My new {item} is simply {problem}.|It turns out the {item} is {problem}.|"
    "Please help, the {item} I have is {problem}.|I must say the {item} is {problem}, sorry.|The {item} I ordered got here {problem}.|"
    "Now the {item} looks {problem}.|One {item} in the box is {problem}.|I was sad to see the {item} so {problem}.|How can a {item} be {problem}?|"
    "The {item} is already {problem}.|You shipped a {item}; it is {problem}.|Already {problem} when it came: the {item}.|"
    "A {problem} {item} is what I got."
).split("|")
CITY = (
    "I live in {city}.|We live near {city}.|Take it to {city}.|To {city}.|It goes to {city}.|Our house is in {city}.|Place: {city}.|They are for our shop in {city}."
    "|Post it to {city}.|Come to {city}.|The goods go to {city}.|In {city} we have an office.|{city} is where we are.|Drive it to {city}.|The van should go to {city}."
    "|The goods belong in {city}.|Everything goes to {city}.|{city} is the place.|Bring it all to {city}.|"
    "Our home town is {city}.|The parcel is for {city}.|Your driver finds us in {city}.|Deliver in {city}.|Address: {city}.|"
    "Let them go to {city}.|They are wanted in {city}.|Please ship to our place in {city}.|It should end up in {city}."
).split("|")
DAY = (
    "On {date}.|By {date}.|Come on {date}.|I wait until {date}.|{date} is best.|Not later than {date}.|We open on {date}.|The party is on {date}.|It must be {date}."
    "|Best before {date}.|Can you do {date}?|Make it {date}.|The last day is {date}.|Let it arrive on {date}.|We are at home on {date}.|Due {date}."
    "|We need the goods on {date}.|The latest date is {date}.|Arrive by {date}.|It would suit us on {date}.|"
    "Please be here by {date}.|No later than {date}, please.|I count on {date}.|{date} suits me.|The delivery date is {date}.|"
    "Get it here on {date}.|We must have it on {date}."
).split("|")
REFERENCE = (
    "Number {order}.|The number is {order}.|Look under {order}.|My number: {order}.|Paper number {order}.|Ref {order}.|It had the number {order}.|I was given {order}."
    "|The bill has number {order}.|Please look at {order}.|You wrote {order} on the bill.|Case {order}.|Find it with {order}."
    "|For your files: {order}.|My receipt has {order} on it.|The paper says {order}.|You find me under {order}.|It was {order}.|"
    "{order} is my number.|The slip says {order}.|In your books it is {order}."
).split("|")
FILLER = (
    "I like your shop.|My friend {other} likes you too.|It rains here.|We have {number} cats.|My wife {other} is happy.|I am {number} years old."
    "|My telephone is {phone}.|Once I had a {old}.|There are {number} of us.|{other} told me about you.|We met {number} days ago.|The {old} was good."
    "|Thank you.|Have a nice day.|I am in a hurry.|You are kind.|My boss is {other}.|We have no {old}.|Call {phone}.|Nice to hear from you."
    "|It took {number} weeks.|Yes, really.|I read about it.|My mother {other} knows.|Do not send a {old}.|Good day,|Hello!|Dear shop,|Hi!"
    "|My phone rings all day.|My neighbour {other} has one too.|We are a hotel with {number} beds.|You have a good name.|"
    "I used to have a {old}.|I hope you are fine.|Reach me at {phone}.|Your prices are fair.|"
    "We have {number} rooms to fill.|{other} from my office will pay.|As you know, I am old.|"
    "Before, we had the {old} of {other}.|I looked at your page.|You can ring {phone}."
).split("|")

KEYS = {
    "name": "name customer who person sender from client".split(),
    "item": "item product what thing article goods".split(),
    "quantity": "quantity count number amount pieces".split(),
    "city": "city place to town where".split(),
    "date": "day date when due by".split(),
    "problem": "problem state fault issue defect".split(),
    "reference": "order code ref id case".split(),
}
HEADINGS = "Record Data Facts Form Card Entry Note Fields Table Info".split()


def _some(rng: random.Random, words: list[str], share_random: float) -> str:
    return made_up_word(rng) if rng.random() < share_random else rng.choice(words)


def _facts(rng: random.Random, plural: bool) -> dict[str, object]:
    values = PRETRAINING_VALUES
    first = _some(rng, values.first_names, 0.7).capitalize()
    last = _some(rng, values.last_names, 0.7).capitalize()
    kind, thing = _some(rng, values.kinds, 0.5), _some(rng, values.things, 0.5)
    quantity = rng.randint(1, 20) if rng.random() < 0.6 else rng.randint(1, 99)
    return {
        "name": f"{first} {last}",
        "item": f"{kind} {thing}" + ("s" if plural and quantity > 1 else ""),
        "quantity": quantity,
        "city": _some(rng, values.cities, 0.6).capitalize(),
        "date": rng.choice(values.dates) if rng.random() < 0.7 else made_up_word(rng).capitalize(),
        "problem": _some(rng, values.problems, 0.6),
        "reference": rng.randint(100, 9999),
    }


def _quantity(rng: random.Random, number: int, item: str) -> str:
    if rng.random() < 0.2:
        return f"{number} x {item}"
    amount = NUMBER_WORDS[number] if rng.random() < 0.55 else str(number)
    return f"{amount} {item}"


def _fill(rng: random.Random, sentence: str, facts: dict[str, object]) -> str:
    values = PRETRAINING_VALUES
    return sentence.format(
        name=facts["name"],
        item=facts["item"],
        items=_quantity(rng, facts["quantity"], facts["item"]),
        city=facts["city"],
        date=facts["date"],
        problem=facts["problem"],
        order=facts["reference"],
        other=_some(rng, values.first_names, 0.6).capitalize(),
        number=rng.randint(2, 30),
        phone=f"{rng.randint(100, 999)} {rng.randint(1000, 9999)}",
        old=_some(rng, values.things, 0.6),
    )


def _listed(rng: random.Random, facts: dict[str, object]) -> str:
    """The facts in one of several forms, with one of several names for each, in any order."""
    keys = list(facts)
    if rng.random() < 0.5:
        rng.shuffle(keys)
    pairs = [(rng.choice(KEYS[key]), facts[key]) for key in keys]
    form = rng.random()
    if form < 0.5:
        return json.dumps(dict(pairs))
    if form < 0.7:
        return "; ".join(f"{key}={value}" for key, value in pairs)
    if form < 0.85:
        return "\n".join(f"{key}: {value}" for key, value in pairs)
    return " ".join(f"{key}? {value}." for key, value in pairs)


def letter(rng: random.Random) -> str:
    """A letter to the shop, followed by its facts."""
    is_order = rng.random() < 0.6
    facts = _facts(rng, plural=is_order)
    wanted = ["name", "item"]
    sentences = []
    if is_order:
        sentences.append(rng.choice(ORDER))
        wanted.append("quantity")
        for key, choices in (("city", CITY), ("date", DAY)):
            if rng.random() < 0.55:
                sentences.append(rng.choice(choices))
                wanted.append(key)
    else:
        sentences.append(rng.choice(FAULT))
        wanted.append("problem")
        if rng.random() < 0.6:
            sentences.append(rng.choice(REFERENCE))
            wanted.append("reference")
    if rng.random() < 0.3:
        rng.shuffle(sentences)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        sentences.insert(rng.randrange(len(sentences) + 1), rng.choice(FILLER))
    sentences.insert(0 if rng.random() < 0.5 else len(sentences), rng.choice(NAME))
    text = " ".join(_fill(rng, sentence, facts) for sentence in sentences)
    heading = rng.choice(HEADINGS)
    return f"{text}\n{heading}: {_listed(rng, {key: facts[key] for key in wanted})}"


def repetition(rng: random.Random) -> str:
    """A list and the same list again."""
    words = [made_up_word(rng) for _ in range(rng.randint(3, 9))]
    if rng.random() < 0.4:
        words = [word.capitalize() for word in words]
    elif rng.random() < 0.3:
        words = [str(rng.randint(1, 999)) for _ in words]
    said = " ".join(words)
    return f"{said}\n{rng.choice(('Again', 'Copy', 'Once more', 'Same'))}: {said}"


def addition(rng: random.Random) -> str:
    """An addition of two numbers under 100, worked digit by digit."""
    a, b = rng.randint(0, 99), rng.randint(0, 99)
    low = a % 10 + b % 10
    high = a // 10 + b // 10 + low // 10
    steps = f"{a % 10} + {b % 10} = {low}" + (", carry 1. " if low > 9 else ". ")
    steps += f"{a // 10} + {b // 10}" + (" + 1" if low > 9 else "") + f" = {high}."
    return f"Work out {a} + {b}.\nSteps: {steps} So {a} + {b} = {a + b}."


def number_words(rng: random.Random) -> str:
    """Numbers in words and digits, singular and plural."""
    number = rng.randint(1, 20) if rng.random() < 0.6 else rng.randint(1, 99)
    word = NUMBER_WORDS[number]
    thing = _some(rng, PRETRAINING_VALUES.things, 0.6)
    plural = thing if number == 1 else thing + "s"
    choice = rng.randrange(5)
    if choice == 0:
        return f"{word} is {number}, and {number} is {word}."
    if choice == 1:
        return f"{word} {plural} are {number} x {thing}."
    if choice == 2:
        return f"one {thing}, {word} {plural}: {number}."
    if choice == 3:
        following = number % 99 + 1
        return f"After {number} ({word}) comes {following} ({NUMBER_WORDS[following]})."
    return f"Many {thing}s, one {thing}. {number} {plural}: {word} {plural}."


def report(rng: random.Random) -> str:
    """A day's sales in a shop and one sentence that sums it up."""
    things = rng.sample(PRETRAINING_VALUES.things, 3)
    sold = rng.sample(range(2, 60), 3)
    city, date = rng.choice(PRETRAINING_VALUES.cities), rng.choice(PRETRAINING_VALUES.dates)
    lines = " ".join(
        rng.choice(("We sold {k} {p}s.", "{k} {p}s went out.", "Customers took {k} {p}s.")).format(k=k, p=p)
        for k, p in zip(sold, things, strict=True)
    )
    best = things[sold.index(max(sold))]
    return f"Report from {city}, {date}. {lines}\nIn short: {city} sold most {best}s, {max(sold)}."


def chat(rng: random.Random) -> str:
    """Two turns between a customer and the shop."""
    facts = _facts(rng, plural=False)
    question = _fill(rng, rng.choice(FAULT), facts)
    answer = rng.choice(
        (
            "I am sorry that the {item} is {problem}. We will send a new one.",
            "Sorry about the {item}. You get your money back.",
            "Thank you for telling us. A {problem} {item} is not good. We take it back.",
        )
    )
    return f"Customer: {question}\nShop: {_fill(rng, answer, facts)}"


KINDS = ((letter, 0.66), (repetition, 0.12), (number_words, 0.08), (addition, 0.07), (report, 0.03), (chat, 0.04))


def documents(seed: int) -> Iterator[str]:
    """An endless stream of documents, the same for the same seed."""
    rng = random.Random(seed)
    kinds, weights = zip(*KINDS, strict=True)
    while True:
        yield rng.choices(kinds, weights)[0](rng)
