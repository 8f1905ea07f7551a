"""Problems: solutions are right, nothing held out is trained on or was pretrained on; and the parser of answers."""

import hashlib
import itertools
import json
import random
import re
from collections import Counter

import pytest

from shared.data import DATA_DIR, corpus, problems
from shared.data.faults import check_record
from shared.data.files import make_records, write_files
from shared.data.problem_records import load_problems, read_problems
from shared.data.problems import (
    FILES,
    HELDOUT,
    TRAIN,
    Sums,
    addition_steps,
    direct,
    is_held_out,
    make_example,
    make_story,
    parse_answer_number,
    tagged,
    worked,
)
from shared.data.wordlists import HELDOUT_WORDS
from shared.errors import DataError

PHRASINGS = ("counts", "packs", "gains", "losses", "more_packs", "asides", "questions")
ADDITIONS = [name for name in FILES if name.startswith("additions")]
CHAINS = [name for name in FILES if name.startswith("chains")]
STORIES = [name for name in FILES if name.startswith("stories")]
RECORD = {"prompt": "Q: What is 47 + 38?\nA:", "steps": addition_steps(47, 38), "answer": 85}


def records(name):
    return read_problems(DATA_DIR / name)


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


def value(calculation):
    """`3 x 4 + 5 - 2` -> 15, products first, by the text alone."""
    parts = re.split(r" ([+-]) ", calculation)
    signs = {"+": 1, "-": -1}
    products = [[int(number) for number in part.split(" x ")] for part in parts[::2]]
    total = 0
    for sign, factors in zip(["+", *parts[1::2]], products, strict=True):
        total += signs[sign] * (factors[0] * factors[1] if len(factors) == 2 else factors[0])
    return total


def terms(calculation):
    return calculation.replace(" - ", " + - ").split(" + ")


def unordered(calculation):
    """The same for the same numbers added, subtracted and multiplied in another order."""
    return tuple(sorted(" x ".join(sorted(term.split(" x "))) for term in terms(calculation)))


def test_value_by_hand():
    assert value("3 x 4 + 5 - 2") == 15 and value("20 - 5 + 2 x 6") == 27 and value("47 + 38") == 85
    assert unordered("3 x 4 + 5 - 2") == unordered("4 x 3 - 2 + 5") != unordered("3 x 4 + 2 - 5")


def test_files_are_large_enough_and_what_the_generator_makes(tmp_path):
    write_files(tmp_path)
    for name, (_, count, _) in FILES.items():
        content = (DATA_DIR / name).read_bytes()
        assert content == (tmp_path / name).read_bytes()
        assert len(records(name)) == count >= (1000 if "train" in name else 200) and len(content) < 600_000
    assert (DATA_DIR / "MANIFEST.json").read_bytes() == (tmp_path / "MANIFEST.json").read_bytes()
    prompts = [record["prompt"] for name in FILES for record in records(name)]
    assert len(prompts) == len(set(prompts))
    for world in (Sums((2,), heldout=False), TRAIN):
        assert make_records(problems, world, 5, seed=1) == make_records(problems, world, 5, seed=1)
        assert make_records(problems, world, 5, seed=1) != make_records(problems, world, 5, seed=2)


@pytest.mark.parametrize("name", FILES)
def test_solutions_are_right(name):
    for number, record in enumerate(records(name), 1):
        assert value(record["calculation"]) == record["answer"] > 0
        equations = [re.search(r"([\d x+-]+) = (\d+)", step) for step in record["steps"]]
        assert all(value(equation[1].strip()) == int(equation[2]) for equation in equations), record
        assert int(equations[-1][2]) == record["answer"]  # the last step ends in the answer
        for render in (worked, direct, tagged):
            example = render(record)
            assert not list(check_record(example, number, "prompt-completion"))
            assert parse_answer_number(example["completion"]) == record["answer"]
            strict = parse_answer_number(example["completion"], strict=True)
            assert strict == (record["answer"] if render is tagged else None)


@pytest.mark.parametrize("name", ADDITIONS)
def test_digits_of_an_addition_are_the_answer(name):
    for record in records(name):
        a, b = numbers(record["calculation"])
        assert numbers(record["prompt"]) == [a, b] and record["size"] == len(str(max(a, b)))
        *columns, last = record["steps"]
        assert len(columns) == record["size"] and last == f"So {a} + {b} = {a + b}."
        sums = [re.search(r"= (\d+)(, carry 1)?\.$", step) for step in columns]
        assert all((found[2] is not None) == (len(found[1]) == 2) for found in sums[:-1])
        assert int(sums[-1][1] + "".join(found[1][-1] for found in sums[-2::-1])) == a + b


def test_a_chain_goes_on_from_each_result():
    for record in (record for name in CHAINS for record in records(name)):
        start, *steps = re.findall(r"(?:Start with|add|take away) (\d+)", record["prompt"])
        signs = ["-" if word == "take away" else "+" for word in re.findall(r"add|take away", record["prompt"])]
        now = int(start)
        assert len(record["steps"]) == record["size"] == len(steps)
        for step, sign, number in zip(record["steps"], signs, steps, strict=True):
            result = now + int(number) * (1 if sign == "+" else -1)
            assert step == f"{now} {sign} {number} = {result}." and 1 <= result <= 30
            now = result


def test_stories_can_be_solved_from_their_sentences():
    for name in STORIES:
        for record in records(name):
            said, used = Counter(numbers(record["prompt"])), Counter(numbers(record["calculation"]))
            assert not used - said and (said - used).total() == record["aside"]
            assert len(record["steps"]) == record["size"]
            now = 0
            for step in record["steps"]:  # each step goes on from the one before
                first, *_, result = numbers(step)
                assert " x " in step or not now or first == now
                assert 0 < result < 100
                now = now if step.endswith("come.") else result


def test_addition_steps_are_those_of_the_pretraining():
    rng = random.Random(3)
    for text in (corpus.addition(rng) for _ in range(2000)):
        a, b = numbers(text)[:2]
        assert text == f"Work out {a} + {b}.\nSteps: {' '.join(addition_steps(a, b))}"
    assert addition_steps(968, 43) == [
        "8 + 3 = 11, carry 1.",
        "6 + 4 + 1 = 11, carry 1.",
        "9 + 0 + 1 = 10.",
        "So 968 + 43 = 1011.",
    ]


def test_held_out_calculations_are_not_trained_on_in_any_order():
    for family in (ADDITIONS, CHAINS, STORIES):
        train, *others = family
        trained = {unordered(record["calculation"]) for record in records(train)}
        assert not any(is_held_out(calculation) for calculation in trained)
        for name in others:
            heldout = {unordered(record["calculation"]) for record in records(name)}
            assert not heldout & trained and all(is_held_out(calculation) for calculation in heldout)


@pytest.mark.parametrize("calculation", ["47 + 38", "3 x 4 + 5 - 2", "20 - 5 + 2 x 6"])
def test_no_exchange_changes_what_is_held_out(calculation):
    exchanged = [" x ".join(reversed(term.split(" x "))) for term in terms(calculation)]
    orders = [*itertools.permutations(terms(calculation)), *itertools.permutations(exchanged)]
    assert len({is_held_out(order) for order in orders}) == 1


def test_about_one_in_four_is_held_out():
    pairs = list(itertools.combinations_with_replacement(map(str, range(100)), 2))
    assert len(pairs) == 5050 and 0.23 < sum(map(is_held_out, pairs)) / len(pairs) < 0.27


def test_pretraining_held_no_addition_of_numbers_over_99():
    """For the whole stream, as both numbers come from randint(0, 99); and replayed for its first 20,000 documents."""

    class Largest(random.Random):
        def randint(self, a, b):
            return b

    class Smallest(random.Random):
        def randint(self, a, b):
            return a

    assert numbers(corpus.addition(Largest()))[:2] == [99, 99] and numbers(corpus.addition(Smallest()))[:2] == [0, 0]
    stream = itertools.islice(corpus.documents(seed=8), 20_000)
    seen = {tuple(sorted(numbers(text)[:2])) for text in stream if re.match(r"Work out \d+ \+", text)}
    assert len(seen) > 1000 and max(map(max, seen)) == 99
    for name in ("additions-heldout.jsonl", "additions-long.jsonl"):
        assert all(max(numbers(record["calculation"])) > 99 for record in records(name))
    assert all(max(numbers(record["calculation"])) <= 99 for record in records("additions-practised.jsonl"))


def test_no_phrasing_and_no_value_is_shared():
    for kind in PHRASINGS:
        assert not set(getattr(TRAIN, kind)) & set(getattr(HELDOUT, kind)), kind
    for world in (TRAIN, HELDOUT):
        phrasings = [phrasing for kind in PHRASINGS for phrasing in getattr(world, kind)]
        assert len(phrasings) == len(set(phrasings))
        rng = random.Random(5)
        assert {phrasing for _ in range(2000) for phrasing in make_story(world, rng)[1]} == set(phrasings)
    text = " ".join(record["prompt"] for record in records(STORIES[0])).lower()
    assert not HELDOUT_WORDS & set(re.findall(r"[a-z]+", text))


@pytest.mark.parametrize("name", FILES)
def test_sizes_are_balanced(name):
    found = records(name)
    sizes = Counter(record["size"] for record in found)
    assert all(abs(count / len(found) - 1 / len(sizes)) < 0.07 for count in sizes.values()), sizes
    wanted = (2, 3) if name in STORIES else FILES[name][0].sizes
    assert set(sizes) == set(wanted)


@pytest.mark.parametrize("name", STORIES)
def test_no_short_cut_solves_the_stories(name):
    found = records(name)
    assert 0.2 < sum(record["aside"] for record in found) / len(found) < 0.3
    short_cuts = {
        "sum": sum,
        "last": lambda said: said[-1],
        "largest": max,
        "first and last": lambda said: said[0] + said[-1],
        "first product": lambda said: said[0] * said[1],
    }
    for label, short_cut in short_cuts.items():
        hits = sum(short_cut(numbers(record["prompt"])) == record["answer"] for record in found)
        assert hits / len(found) < 0.1, (label, hits)
    assert max(Counter(record["answer"] for record in found).values()) / len(found) < 0.05


def test_additions_carry_and_do_not():
    for name in ADDITIONS:
        share = sum("carry" in " ".join(record["steps"]) for record in records(name)) / len(records(name))
        assert 0.35 < share < (0.7 if name == "additions-practised.jsonl" else 0.99), (name, share)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: broken JSON \(.*\); write one JSON object on each line\."),
        ("[1]", r"line 2: it is not an object; write a record like"),
        ("null", r"line 2: .*null.* is not an object; write a record like"),
        ({"prompt": " "}, r"line 2, field prompt: there is no text; write the problem as 'prompt'\."),
        ({"steps": "7 + 8 = 15"}, r"line 2, field steps: it is no list of sentences; write the solution as a list"),
        ({"steps": []}, r"line 2, field steps: it is no list"),
        ({"steps": [15]}, r"line 2, field steps: it is no list"),
        ({"answer": "85"}, r"line 2, field answer: it is no number; write the answer as a number, without quotes"),
        ({"answer": True}, r"line 2, field answer"),
        ({"answer": None}, r"line 2, field answer"),
    ],
)
def test_a_file_of_ones_own_with_a_fault(tmp_path, line, message):
    file = tmp_path / "mine.jsonl"
    file.write_text(f"{json.dumps(RECORD)}\n{line if isinstance(line, str) else json.dumps(RECORD | line)}\n")
    with pytest.raises(DataError, match=message):
        read_problems(file)


def test_loading(tmp_path):
    default = [DATA_DIR / name for name in STORIES]
    found = load_problems(None, *default, seed=1)
    assert (len(found.train), len(found.heldout), found.format) == (1500, 300, "problem")
    assert found.source == "stories-train.jsonl and stories-heldout.jsonl"
    assert found.sha256 == hashlib.sha256(default[0].read_bytes() + default[1].read_bytes()).hexdigest()
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(RECORD | {"answer": number}) + "\n" for number in range(30)))
    mine = load_problems(str(file), *default, seed=1)
    assert (len(mine.train), len(mine.heldout), mine.source) == (27, 3, str(file))
    file.write_text(f"{json.dumps(RECORD)}\n" * 30)
    with pytest.raises(DataError, match="30 records, 1 of them different"):
        load_problems(str(file), *default, seed=1)
    with pytest.raises(DataError, match="cannot be read"):
        read_problems(tmp_path / "none.jsonl")


def test_renderings_by_hand():
    solution = "7 + 8 = 15, carry 1. 4 + 3 + 1 = 8. So 47 + 38 = 85."
    assert worked(RECORD) == {"prompt": RECORD["prompt"], "completion": f" {solution} The answer is 85."}
    assert direct(RECORD) == {"prompt": RECORD["prompt"], "completion": " The answer is 85."}
    assert tagged(RECORD)["completion"] == f" <think>{solution}</think><answer>85</answer>"


def test_an_example_by_hand():
    record, used = make_example(TRAIN, random.Random(1))
    assert used and record.keys() == {"prompt", "steps", "answer", "calculation", "size", "aside"}
    assert make_example(Sums((2,), heldout=False), random.Random(1))[1] == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("85", 85),
        ("The answer is 85.", 85),
        (" 7 + 8 = 15, carry 1. 4 + 3 + 1 = 8. So 47 + 38 = 85. The answer is 85.", 85),
        ("The answer is 85.\nQ: What is 3 + 4?\nA: The answer is 7.", 85),  # goes on with a question of its own
        ("The answer is 85, because 40 + 30 = 70 and 7 + 8 = 15.", 85),
        ("The answer is 80. No, the answer is 85.", 85),
        ("The answer is 47 + 38 = 85 lamps", 85),
        ("The answer is 3x4=12", 12),
        ("The total number of lamps is $1,234.50", 1234.5),
        ("12,345,678 in all", 12345678),
        ("1, 2, 3", 3),
        ("Answer: **85**", 85),
        ("ANSWER:\n85", 85),
        (r"The final answer is \boxed{85}.", 85),
        ("The answer is 85.0", 85),
        ("The answer is -5", -5),
        ("The answer is \N{MINUS SIGN}5", -5),
        ("12-5", 5),
        ("3-5=-2", -2),
        ("47 + 38 makes 85 lamps", 85),
        ("<think>7 + 8 = 15</think><answer>85</answer>", 85),
        ("<think>7 + 8 = 15</think><answer>85", 85),  # cut off
        ("<answer>47 + 38 = 85</answer> and 3 more words", 85),
        ("<answer>80</answer><answer>85</answer>", 85),
        ("<answer>no idea</answer> 7", 7),
        ("#### 72", 72),
        ("So 47 + 38 = 8", 8),  # cut off: read as it stands, and wrong
        ("", None),
        ("I do not know.", None),
        ("falcon7b", None),
        ("9" * 5000, None),
        ("Q: What is 3 + 4?", None),
    ],
)
def test_lenient_parser(text, number):
    assert parse_answer_number(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("<think>7 + 8 = 15</think><answer>85</answer>", 85),
        ("<answer> 1,234 </answer> and so on", 1234),
        ("<answer>\n-5\n</answer>", -5),
        ("<answer>85.</answer>", None),
        ("<answer>85 lamps</answer>", None),
        ("<answer>47 + 38 = 85</answer>", None),
        ("<answer>80</answer><answer>85</answer>", None),
        ("<answer>85</answer></answer>", None),
        ("<answer>85", None),
        ("<answer></answer>", None),
        ("The answer is 85.", None),
        ("", None),
    ],
)
def test_strict_parser(text, number):
    assert parse_answer_number(text, strict=True) == number
