"""The two worlds of the demo task: how customers put things in training, and how they do in the held-out messages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.data import corpus
from shared.data.wordlists import HELDOUT_VALUES, TRAIN_VALUES, Values


@dataclass(frozen=True)
class World:
    """Everything a message can be made of. Slots: {name} {items} {city} {date} {problem} {order} {other}."""

    values: Values
    greetings: Sequence[str]
    introductions: Sequence[str]  # say the customer's name at the start ...
    signatures: Sequence[str]  # ... or at the end
    orders: Sequence[str]
    cities: Sequence[str]
    dates: Sequence[str]
    supports: Sequence[str]
    order_numbers: Sequence[str]
    distractors: Sequence[str]


TRAIN = World(
    values=TRAIN_VALUES,
    greetings=("Hello,", "Hi,", "Good morning,", "Dear team,", "Hi there,"),
    introductions=(
        "this is {name}.",
        "my name is {name}.",
        "{name} here.",
        "I am {name}.",
        "{name} speaking.",
        *[p for p in corpus.NAME if not p.endswith("{name}")],
    ),
    signatures=(
        "Thanks, {name}",
        "Best regards, {name}",
        "Regards, {name}",
        "Yours, {name}",
        "Thank you! {name}",
        *[p for p in corpus.NAME if p.endswith("{name}")],
    ),
    orders=(
        "I would like to order {items}.",
        "Please send me {items}.",
        "Can I get {items}?",
        "We need {items}.",
        "I want to buy {items}.",
        "Put me down for {items}, please.",
        "Could you send us {items}?",
        "We would like {items}.",
        "I am ordering {items}.",
        "Please reserve {items} for me.",
        "Our shop wants {items}.",
        "I'll take {items}.",
        "My order is {items}.",
        "May I have {items}?",
        "Is it possible to order {items}?",
        "We are looking to buy {items}.",
        "Please add {items} to my basket.",
        "I have decided on {items}.",
        "{items}, please.",
        "Order for our office: {items}.",
        *corpus.ORDER,
    ),
    cities=(
        "Please deliver to {city}.",
        "Ship it to {city}.",
        "The address is in {city}.",
        "Send everything to {city}.",
        "We are in {city}.",
        "Delivery to {city}, please.",
        *corpus.CITY,
    ),
    dates=(
        "I need it by {date}.",
        "It has to be here on {date}.",
        "Please deliver on {date}.",
        "{date} would be fine.",
        "We expect it before {date}.",
        "Can it come on {date}?",
        *corpus.DAY,
    ),
    supports=(
        "My {item} arrived {problem}.",
        "The {item} you sent is {problem}.",
        "I bought one {item} and it is {problem}.",
        "Your {item} came {problem}.",
        "There is a problem: the {item} is {problem}.",
        "I am writing because my {item} is {problem}.",
        "We received the {item}, but it was {problem}.",
        "The {item} from my last order is {problem}.",
        "I have to complain: the {item} was {problem}.",
        "Why is my {item} {problem}?",
        "Sadly the {item} is {problem}.",
        "I opened the box and the {item} was {problem}.",
        *corpus.FAULT,
    ),
    order_numbers=(
        "The order number is {order}.",
        "My order was {order}.",
        "It is order {order}.",
        "Order number {order}.",
        "See order {order}.",
        *corpus.REFERENCE,
    ),
    distractors=(
        "My colleague {other} said your service is good.",
        "I have been a customer for {number} years.",
        "You can call me on {phone}.",
        "My sister {other} shops here too.",
        "Last year I bought one {old}, which was great.",
        "We are a team of {number} people.",
        "The weather is lovely today.",
        "I saw your shop in a magazine.",
        "Text me on {phone}.",
        "My mobile is {phone}.",
        "If in doubt, ask on {phone}.",
        "{phone} reaches me at work.",
        "The fax is {phone}.",
        "{other} answers on {phone}.",
        "The last time I came with {other}, {number} weeks ago.",
        "We came {number} times this year.",
        *corpus.FILLER,
    ),
)

HELDOUT = World(
    values=HELDOUT_VALUES,
    greetings=("Good evening,", "Hey,", "Dear Sir or Madam,", "Greetings,"),
    introductions=("you are talking to {name}.", "it's {name} writing.", "{name} is my name.", "I'm called {name}."),
    signatures=("Sincerely, {name}", "Cheers, {name}", "Kind wishes from {name}", "Signed: {name}"),
    orders=(
        "Could you set aside {items}?",
        "Kindly arrange {items} for us.",
        "I'm after {items}.",
        "Our company requires {items}.",
        "We'd be happy to receive {items}.",
        "Let me have {items}, if you can.",
        "I wish to purchase {items}.",
        "Would you pack {items} for me?",
        "Book me {items}.",
        "This time we want to get {items} from you.",
    ),
    cities=(
        "They should go to {city}.",
        "Our place is in {city}.",
        "Bring the goods to {city}.",
        "The destination is {city}.",
    ),
    dates=(
        "The deadline is {date}.",
        "We must have the goods by {date}.",
        "Arrival on {date} suits us.",
        "Make sure it gets here no later than {date}.",
    ),
    supports=(
        "Unfortunately my new {item} turned out to be {problem}.",
        "I got one {item} that is {problem}.",
        "When the {item} reached me, it was already {problem}.",
        "This {item} is {problem}, what now?",
        "I regret to say that your {item} looks {problem}.",
        "Help! The {item} I paid for is {problem}.",
    ),
    order_numbers=(
        "You will find it under number {order}.",
        "For reference: {order}.",
        "The receipt says {order}.",
    ),
    distractors=(
        "My neighbour {other} recommended you.",
        "I run a small hotel with {number} rooms.",
        "My phone number is {phone}.",
        "Before that I had this {old} from another store.",
        "I hope you are all well.",
        "Your website is easy to use.",
    ),
)

# The second world's names and values in the first world's phrasings.
SEEN_PHRASINGS = replace(TRAIN, values=HELDOUT_VALUES)
