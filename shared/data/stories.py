"""The phrasings of the word problems of shared/data/problems.py, in two halves that share none.

Slots: {name} and {other} are people, {things} what is counted, {a} and {b} numbers. Nobody is called he or she, so that
every sentence fits every name; whoever holds the things, they are counted together until the story takes them away.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.data.wordlists import HELDOUT_VALUES, TRAIN_VALUES, Values


@dataclass(frozen=True)
class Stories:
    """What a story is made of, and whether its calculation is one of the held-out ones."""

    values: Values
    heldout: bool
    counts: Sequence[str]  # it begins with {a} ...
    packs: Sequence[str]  # ... or with {a} times {b}
    gains: Sequence[str]
    losses: Sequence[str]
    more_packs: Sequence[str]  # {a} times {b} come
    asides: Sequence[str]  # a number that does not count
    questions: Sequence[str]


TRAIN = Stories(
    values=TRAIN_VALUES,
    heldout=False,
    counts=(
        "{name} has {a} {things}.",
        "There are {a} {things} in the shop of {name}.",
        "{name} owns {a} {things}.",
        "{name} puts {a} {things} on a shelf.",
        "{name} counts {a} {things}.",
        "On Monday {name} has {a} {things}.",
        "{a} {things} stand in the hall of {name}.",
        "{name} keeps {a} {things} at home.",
        "In the store of {name} are {a} {things}.",
        "{name} starts with {a} {things}.",
        "The school of {name} has {a} {things}.",
        "A box of {name} holds {a} {things}.",
        "At noon there are {a} {things} on the table of {name}.",
        "{name} has made {a} {things}.",
    ),
    packs=(
        "{name} has {a} boxes with {b} {things} each.",
        "{a} shelves of {name} hold {b} {things} each.",
        "{name} has {a} bags, each with {b} {things}.",
        "{name} packs {a} boxes of {b} {things}.",
        "{name} fills {a} baskets with {b} {things} each.",
        "In each of {a} rooms {name} has {b} {things}.",
        "{name} buys {a} sets of {b} {things}.",
        "Each of {a} friends gives {name} {b} {things}.",
        "{name} lays out {a} rows of {b} {things}.",
        "{a} crates, each holding {b} {things}, belong to {name}.",
        "On {a} days {name} makes {b} {things} a day.",
        "There are {a} tables with {b} {things} each in the shop of {name}.",
        "{name} has {a} times {b} {things}.",
        "{name} owns {a} cases, and {b} {things} are in each.",
    ),
    gains=(
        "{other} brings {a} more.",
        "{name} buys {a} more.",
        "{a} more arrive.",
        "Then {name} gets {a} more.",
        "{other} gives {name} {a} more.",
        "{name} finds {a} more in the cellar.",
        "The post brings {a} new ones.",
        "{name} makes {a} more.",
        "{other} adds {a}.",
        "In the evening {a} more come.",
        "{name} wins {a} more.",
        "A van brings {a} more.",
        "{a} others are put beside them.",
        "{other} sends {name} {a} more.",
    ),
    losses=(
        "{name} sells {a} of them.",
        "{a} of them break.",
        "{other} takes {a} away.",
        "{name} gives {a} to {other}.",
        "{a} get lost.",
        "{name} throws {a} away.",
        "{other} buys {a} of them.",
        "{a} are stolen.",
        "{name} sends {a} back.",
        "A customer takes {a}.",
        "{name} loses {a} of them.",
        "{a} go to a school.",
        "{other} carries {a} of them off.",
        "Later {a} are sold.",
    ),
    more_packs=(
        "Then {a} boxes with {b} {things} each arrive.",
        "{other} brings {a} bags of {b} {things}.",
        "{name} buys {a} more sets of {b}.",
        "Each of {a} friends brings {b} more.",
        "{a} crates come, with {b} {things} in each.",
        "{name} makes {b} more a day for {a} days.",
        "A van brings {a} packs of {b}.",
        "{other} adds {a} rows of {b} {things}.",
        "{name} gets {a} cases, each with {b} {things}.",
        "{a} times {other} brings {b} more.",
        "The post brings {a} parcels with {b} each.",
        "{a} shops send {b} {things} each.",
    ),
    asides=(
        "{other} is {a} years old.",
        "It is {a} minutes to the bus.",
        "{name} has {a} cousins.",
        "The shop opens at {a}.",
        "{other} waits for {a} minutes.",
        "It was {a} degrees in the morning.",
        "{name} lives at number {a}.",
        "The walk takes {a} minutes.",
    ),
    questions=(
        "How many {things} are there now?",
        "How many {things} are there in the end?",
        "How many {things} is that?",
        "What is the number of {things} now?",
        "How many {things} can be seen now?",
        "Count the {things}: how many are there?",
        "And how many {things} are there then?",
    ),
)

HELDOUT = Stories(
    values=HELDOUT_VALUES,
    heldout=True,
    counts=(
        "{name} looks after {a} {things}.",
        "In the garage of {name} there are {a} {things}.",
        "{name} has collected {a} {things}.",
        "This morning {name} had {a} {things}.",
        "{a} {things} belong to {name}.",
    ),
    packs=(
        "{name} carries in {a} boxes, and every box has {b} {things} in it.",
        "{name} sets up {a} stands with {b} {things} on each.",
        "{a} neighbours bring {name} {b} {things} each.",
        "The {things} of {name} lie in {a} piles of {b}.",
        "{name} orders {a} packs, each of {b} {things}.",
    ),
    gains=(
        "{other} comes with {a} more.",
        "Now {name} is given {a} more.",
        "{a} more are delivered.",
        "{name} picks up {a} more on the way.",
        "Another {a} are found in the attic.",
    ),
    losses=(
        "{other} borrows {a} and keeps them.",
        "{name} has to give away {a}.",
        "{a} turn out broken and are thrown out.",
        "Visitors buy {a} of them.",
        "{name} passes {a} on to {other}.",
    ),
    more_packs=(
        "Next come {a} parcels, every one with {b} {things}.",
        "{other} hands over {a} sacks with {b} {things} in each.",
        "{a} visitors leave {b} {things} each.",
        "{name} orders another {a} packs of {b}.",
    ),
    asides=(
        "{other} was away for {a} days.",
        "The train of {other} is {a} minutes late.",
        "{name} has {a} windows to clean.",
        "There are {a} trees in front of the house.",
    ),
    questions=(
        "How many {things} does that make?",
        "What number of {things} is there at last?",
        "In all, how many {things} are there?",
        "How many {things} can be counted now?",
    ),
)
