"""Additions, chains of sums and word problems with worked solutions: the data of reasoning tuning.

    Q: What is 47 + 38?                     7 + 8 = 15, carry 1. 4 + 3 + 1 = 8. So 47 + 38 = 85.
    Q: Anna has 3 boxes with 4 lamps        At first there are 3 x 4 = 12 lamps. After that 12 - 2 = 10 lamps
       each. 2 get lost. How many ...?      are left.

    Q: Start with 7, add 5, take away       7 + 5 = 12. 12 - 3 = 9.
       3. What is the result?

Additions are worked digit by digit, as falcon-tiny has learnt it (shared/data/corpus.py). A record holds `prompt`, `steps`
(the sentences of the solution), `answer`, `calculation`, and `size`: an addition's digits in the larger number, the
number of steps of the others. `worked`, `direct` and `tagged` make a prompt with its completion of it; `parse_answer_number` reads one.

A calculation is held out by its hash, whatever the order of its operands; so no held-out problem is a training problem with
its numbers exchanged, however many of either are made. falcon-tiny saw additions of numbers up to 99 in its pretraining, and
of those all: replaying its stream of documents (seed 8), the last of the 5,050 pairs turns up in document 684,687, and the
3,000 steps take about 728,000. So `additions-heldout` and `additions-long` have a number over 99 in every problem; what
falcon-tiny does in `additions-practised` is no evidence of a skill beyond what it saw.
"""

import itertools
import math
import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from shared.data.stories import HELDOUT, TRAIN, Stories

INSTRUCTION = "Work the problem out step by step. Then write: The answer is N."
TAGGED_INSTRUCTION = (
    "Work the problem out step by step between <think> and </think>. Then write the number alone, between <answer> and "
    "</answer>."
)
HELDOUT_SHARE = 4  # one calculation in so many is held out
NUMBER = r"-?(?:\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?!\d)(?:\.\d{1,15})?"  # what is longer is no number
SAID = re.compile(rf"(?<![\w.]){NUMBER}")
SUM = re.compile(rf"{NUMBER}(?:\s*[-+*/x×]\s*{NUMBER})*\s*=\s*(?=-?\d)")
CUE = re.compile(r"\banswer\W{0,4}(?:is|was|=|:)[^\d.]{0,20}?(?=-?\d)", re.IGNORECASE)
NEXT_QUESTION = re.compile(r"^\s*(?:Q|Question|Problem)\s*\d*:", re.MULTILINE | re.IGNORECASE)
PLOTS = {  # by the number of steps; a story begins with a count or packs
    2: ("count gain loss", "count loss gain", "count more_packs", "packs gain", "packs loss"),
    3: (
        "count gain more_packs",
        "count loss more_packs",
        "count more_packs loss",
        "packs gain loss",
        "packs loss gain",
        "packs more_packs",
    ),
}


@dataclass(frozen=True)
class Sums:
    """Additions whose larger number has one of `sizes` digits, from the held-out calculations or the others."""

    sizes: Sequence[int]
    heldout: bool


@dataclass(frozen=True)
class Chains:
    """Numbers of one digit added and taken away one after the other, in as many steps as one of `sizes`."""

    sizes: Sequence[int]
    heldout: bool


def is_held_out(terms: Sequence[str]) -> bool:
    """True if the sum of `terms`, like `47`, `3 x 4` or `- 5`, is a held-out one; no order of operands matters."""
    key = ",".join(sorted(" x ".join(sorted(term.split(" x "))) for term in terms))
    return zlib.crc32(key.encode()) % HELDOUT_SHARE == 0


def addition_steps(a: int, b: int) -> list[str]:
    """The worked addition, from the ones up; for numbers up to 99 in the words of falcon-tiny's pretraining."""
    steps, carry = [], 0
    digits = max(2, len(str(a)), len(str(b)))  # the pretraining works the tens out even where there are none
    for place in range(digits):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + y + carry
        step = f"{x} + {y}" + " + 1" * carry + f" = {total}"
        carry = int(total > 9)
        steps.append(step + (", carry 1." if carry and place < digits - 1 else "."))
    return [*steps, f"So {a} + {b} = {a + b}."]


def make_addition(world: Sums, rng: random.Random) -> dict[str, object]:
    """An addition of `world`; in three of ten the second number is a digit shorter."""
    while True:
        size = rng.choice(world.sizes)
        other = size - 1 if size > 1 and rng.random() < 0.3 else size
        numbers = [rng.randrange(10 ** (digits - 1), 10**digits) for digits in (size, other)]
        rng.shuffle(numbers)
        if is_held_out([str(number) for number in numbers]) == world.heldout:
            break
    a, b = numbers
    return {
        "prompt": f"Q: What is {a} + {b}?\nA:",
        "steps": addition_steps(a, b),
        "answer": a + b,
        "calculation": f"{a} + {b}",
        "size": size,
    }


def make_chain(world: Chains, rng: random.Random) -> dict[str, object]:
    """A chain of `world`; no result on the way is below 1 or above 30."""
    size = rng.choice(world.sizes)
    while True:
        numbers = [rng.randint(2, 20), *(rng.randint(2, 9) for _ in range(size))]
        signs = ["", *rng.choices("+-", (0.6, 0.4), k=size)]
        counts = list(
            itertools.accumulate(n * (-1 if sign == "-" else 1) for n, sign in zip(numbers, signs, strict=True))
        )
        terms = [f"{sign} {n}" if sign == "-" else str(n) for n, sign in zip(numbers, signs, strict=True)]
        if all(1 <= count <= 30 for count in counts) and is_held_out(terms) == world.heldout:
            break
    told = [f"{'take away' if sign == '-' else 'add'} {n}" for n, sign in zip(numbers[1:], signs[1:], strict=True)]
    sums = zip(counts, signs[1:], numbers[1:], counts[1:], strict=False)
    return {
        "prompt": f"Q: Start with {', '.join([str(numbers[0]), *told])}. What is the result?\nA:",
        "steps": [f"{now} {sign} {n} = {result}." for now, sign, n, result in sums],
        "answer": counts[-1],
        "calculation": " ".join(f"{sign} {n}" for n, sign in zip(numbers, signs, strict=True)).strip(),
        "size": size,
    }


def draw_numbers(plot: Sequence[str], heldout: bool, rng: random.Random) -> list[tuple[int, ...]]:
    """The numbers of each event of `plot`; no count on the way is below 1 or above 99, and all numbers are different."""
    while True:
        drawn, terms, now, counts = [], [], 0, []
        for event in plot:
            if "packs" in event:
                numbers = (rng.randint(2, 9), rng.randint(2, 9))
            else:
                numbers = (rng.randint(10, 60) if event == "count" else rng.randint(2, 30),)
            drawn.append(numbers)
            terms.append("- " * (event == "loss") + " x ".join(map(str, numbers)))
            now += math.prod(numbers) * (-1 if event == "loss" else 1)
            counts.append(now)
        said = [number for numbers in drawn for number in numbers]
        if all(1 <= count <= 99 for count in counts) and len(said) == len(set(said)) and is_held_out(terms) == heldout:
            return drawn


def make_story(world: Stories, rng: random.Random) -> tuple[dict[str, object], list[str]]:
    """A word problem of `world` and the phrasings it was made of."""
    size = rng.choice(list(PLOTS))
    plot = rng.choice(PLOTS[size]).split()
    numbers = draw_numbers(plot, world.heldout, rng)
    name, other = rng.sample(world.values.first_names, 2)
    things = f"{rng.choice(world.values.things)}s"
    used: list[str] = []

    def phrase(choices: Sequence[str], a: int = 0, b: int = 0) -> str:
        used.append(rng.choice(choices))
        return used[-1].format(name=name, other=other, things=things, a=a, b=b)

    choices = {
        "count": world.counts,
        "packs": world.packs,
        "gain": world.gains,
        "loss": world.losses,
        "more_packs": world.more_packs,
    }
    parts = [phrase(choices[event], *given) for event, given in zip(plot, numbers, strict=True)]
    steps, calculation, now = [], "", 0
    for event, given in zip(plot, numbers, strict=True):
        said, amount = " x ".join(map(str, given)), math.prod(given)
        if event == "packs":
            steps.append(f"At first there are {said} = {amount} {things}.")
        if event == "more_packs":
            steps.append(f"{said} = {amount} {things} come.")
        if event == "loss":
            steps.append(f"After that {now} - {amount} = {now - amount} {things} are left.")
        if event in ("gain", "more_packs"):
            steps.append(f"Then there are {now} + {amount} = {now + amount} {things}.")
        calculation += f" {'-' if event == 'loss' else '+'} {said}"
        now += -amount if event == "loss" else amount
    if aside := rng.random() < 0.25:
        unused = [number for number in range(2, 30) if number not in {n for given in numbers for n in given}]
        parts.insert(rng.randrange(1, len(parts) + 1), phrase(world.asides, rng.choice(unused)))
    record = {
        "prompt": f"Q: {' '.join(parts)} {phrase(world.questions)}\nA:",
        "steps": steps,
        "answer": now,
        "calculation": calculation.removeprefix(" + "),
        "size": size,
        "aside": aside,
    }
    return record, used


def make_example(world: Sums | Chains | Stories, rng: random.Random) -> tuple[dict[str, object], list[str]]:
    """A record of `world` and the phrasings it was made of; additions and chains have none."""
    if isinstance(world, Stories):
        return make_story(world, rng)
    return (make_addition if isinstance(world, Sums) else make_chain)(world, rng), []


def worked(record: dict[str, object]) -> dict[str, str]:
    """The problem, and its solution step by step with the answer."""
    solution = " ".join(record["steps"])
    return {"prompt": record["prompt"], "completion": f" {solution} The answer is {record['answer']}."}


def direct(record: dict[str, object]) -> dict[str, str]:
    """The problem, and its answer alone."""
    return {"prompt": record["prompt"], "completion": f" The answer is {record['answer']}."}


def tagged(record: dict[str, object]) -> dict[str, str]:
    """The problem, and its solution and answer between tags."""
    solution = f" <think>{' '.join(record['steps'])}</think><answer>{record['answer']}</answer>"
    return {"prompt": record["prompt"], "completion": solution}


def _number(text: str) -> int | float:
    value = float(text.replace(",", ""))
    return int(value) if value.is_integer() else value


def parse_answer_number(text: str, strict: bool = False) -> int | float | None:
    """The number that `text` gives as its answer, None if there is none.

    `strict`: the number alone in the only <answer> tag. Else, in this order: the last number in the last <answer> tag,
    closed or not; what the last "answer is", "answer:" or the like says, behind the = of a sum; the last number. What
    follows a next question (a line that begins with "Q:") does not count. 1,234 and $85. and **85** are numbers.
    """
    text = text.replace("\N{MINUS SIGN}", "-")
    if strict:
        found = re.findall(r"<answer>\s*(.*?)\s*</answer>", text, re.DOTALL)
        alone = len(found) == text.count("<answer>") == text.count("</answer>") == 1
        return _number(found[0]) if alone and re.fullmatch(NUMBER, found[0]) else None
    text = NEXT_QUESTION.split(text, maxsplit=1)[0]
    for part in reversed(text.split("<answer>")[1:]):
        if numbers := SAID.findall(part.split("</answer>")[0]):
            return _number(numbers[-1])
    for cue in reversed(list(CUE.finditer(text))):
        behind = SUM.match(text, cue.end()) or cue
        if found := re.compile(NUMBER).match(text, behind.end()):
            return _number(found[0])
    numbers = SAID.findall(text)
    return _number(numbers[-1]) if numbers else None


FILES = {
    "additions-train.jsonl": (Sums((2, 3), heldout=False), 2000, 51),
    "additions-heldout.jsonl": (Sums((3,), heldout=True), 300, 52),
    "additions-practised.jsonl": (Sums((2,), heldout=True), 300, 53),  # all seen by falcon-tiny in its pretraining
    "additions-long.jsonl": (Sums((4, 5), heldout=True), 300, 54),
    "chains-train.jsonl": (Chains((2,), heldout=False), 1000, 57),
    "chains-heldout.jsonl": (Chains((2,), heldout=True), 300, 58),
    "chains-long.jsonl": (Chains((3, 5), heldout=True), 300, 59),
    "stories-train.jsonl": (TRAIN, 1500, 55),
    "stories-heldout.jsonl": (HELDOUT, 300, 56),
}
