"""The demo task: nothing held out occurs in training, and the files are what the generator makes."""

import hashlib
import itertools
import json
import random
import re

import pytest

from shared.data import DATA_DIR, ORDERS_HELDOUT, ORDERS_SEEN, ORDERS_TRAIN, few_shot_prefix, load_examples
from shared.data.corpus import documents
from shared.data.files import write_files
from shared.data.orders import FILES, make_examples, render_quantity
from shared.data.phrasings import HELDOUT, TRAIN
from shared.data.wordlists import HELDOUT_VALUES, HELDOUT_WORDS, TRAIN_VALUES, made_up_word
from shared.evaluation import is_json_task

ORDERS = (ORDERS_TRAIN, ORDERS_HELDOUT)
PHRASINGS = (
    "greetings",
    "introductions",
    "signatures",
    "orders",
    "cities",
    "dates",
    "supports",
    "order_numbers",
    "distractors",
)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answers(path):
    return [json.loads(record["completion"]) for record in read(path)]


def test_sizes_and_manifest():
    manifest = json.loads((DATA_DIR / "MANIFEST.json").read_text())
    assert len(read(ORDERS[0])) >= 2000 and len(read(ORDERS[1])) >= 400
    assert manifest["licence"] == "Apache-2.0" and manifest["origin"]
    for name, entry in manifest["files"].items():
        content = (DATA_DIR / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert content.count(b"\n") == entry["examples"]


def test_the_generator_makes_the_same_files_again(tmp_path):
    for path in write_files(tmp_path):
        assert path.read_bytes() == (DATA_DIR / path.name).read_bytes(), path.name
    assert make_examples(TRAIN, 5, seed=9) != make_examples(TRAIN, 5, seed=10)


def test_no_phrasing_is_shared():
    for kind in PHRASINGS:
        assert not set(getattr(TRAIN, kind)) & set(getattr(HELDOUT, kind)), kind
    used = [{phrase for record in read(path) for phrase in record["phrasing"].split(" | ")} for path in ORDERS]
    assert not used[0] & used[1]


@pytest.mark.parametrize("field", ["name", "item", "city", "date", "quantity", "problem", "order"])
def test_no_value_is_shared(field):
    train, heldout = ({answer[field] for answer in answers(path) if answer.get(field) is not None} for path in ORDERS)
    assert train and heldout and not train & heldout
    if field in ("name", "item", "city", "problem"):
        words = [{word.lower() for value in values for word in value.split()} for values in (train, heldout)]
        assert not words[0] & words[1]


def test_no_prompt_is_shared_or_repeated():
    prompts = [record["prompt"] for path in (*ORDERS, ORDERS_SEEN) for record in read(path)]
    assert len(prompts) == len(set(prompts))


def test_answers_can_be_read_off_the_messages():
    for path in (*ORDERS, ORDERS_SEEN):
        for record in read(path):
            answer = json.loads(record["completion"])
            required = ["type", "name", "item", "quantity" if answer["type"] == "order" else "problem"]
            assert list(answer)[:4] == required
            for key, value in answer.items():
                if key not in ("type", "quantity") and value is not None:
                    assert str(value) in record["prompt"], (key, record)


@pytest.mark.parametrize(
    ("quantity", "style", "text"),
    [
        (3, "words", "three tables"),
        (12, "dozen", "a dozen tables"),
        (20, "words", "twenty tables"),
        (70, "words", "seventy tables"),
        (21, "words", "21 tables"),
        (3, "times", "3 x tables"),
        (3, "dozen", "3 tables"),
        (24, "dozen", "two dozen tables"),
    ],
)
def test_quantities(quantity, style, text):
    assert render_quantity(quantity, "tables", style) == text


def test_the_pretraining_text_knows_nothing_of_the_heldout_world():
    text = "\n".join(itertools.islice(documents(seed=11), 4000))
    assert not HELDOUT_WORDS & set(re.findall(r"[a-z]+", text.lower()))
    assert not [date for date in HELDOUT_VALUES.dates if re.search(rf"\b{date}\b", text)]
    slots = re.compile(r"\{\w+\}")
    for kind in PHRASINGS:
        for phrasing in getattr(HELDOUT, kind):
            pieces = [piece.strip(" .,?!:") for piece in slots.split(phrasing)]
            pattern = r"[^.?!\n]+".join(re.escape(piece) for piece in pieces)
            assert len(max(pieces)) < 12 or not re.search(rf"(?m)(^|[.?!] ){pattern}[.?!]", text), phrasing
    assert "JSON:" not in text


def test_made_up_words_are_never_held_out():
    rng = random.Random(0)
    words = {made_up_word(rng) for _ in range(50_000)}
    assert len(words) > 20_000 and not words & HELDOUT_WORDS


def test_word_lists_do_not_overlap():
    for field in (
        "first_names",
        "last_names",
        "kinds",
        "things",
        "cities",
        "dates",
        "problems",
        "quantities",
        "order_numbers",
    ):
        assert not set(getattr(TRAIN_VALUES, field)) & set(getattr(HELDOUT_VALUES, field)), field


def test_the_untuned_model_gets_an_instruction_and_an_example():
    examples = load_examples(None, *ORDERS, seed=0)
    prefix = few_shot_prefix(examples)
    assert prefix.startswith("Turn the customer's message into one line of JSON.")
    assert prefix.count("JSON:") == 1 and prefix.endswith("}\n\n")
    assert is_json_task(examples.heldout)
    assert all(count in (400, 2400) for _, count, _ in FILES.values())
