"""Support chats: nothing held out occurs in training, and an answer can be read off its chat. And the rules that score."""

import random
import re

import pytest

from shared.data import DATA_DIR, chats, read_jsonl
from shared.data.chats import FILES, HELDOUT, SYSTEM, TRAIN, make_example, to_messages
from shared.data.faults import check_record
from shared.data.files import make_records, write_files
from shared.data.wordlists import HELDOUT_WORDS
from shared.rubrics import chat_facts, good_answer, score_answers

NAMES = ("chats-train.jsonl", "chats-heldout.jsonl")
OF_THE_ORDERS = ("introductions", "signatures", "supports", "order_numbers", "distractors")
RECORD = {
    "prompt": "Customer: My silk kettle is leaking. I want my money back. My order was 1003. Anna likes it. I am Alice Stone.\nShop:",
    "completion": " Dear Alice Stone, we are sorry that your silk kettle is leaking. You get your money back for order 1003.",
    "facts": {"name": "Alice Stone", "item": "silk kettle", "problem": "leaking", "wish": "money back", "order": 1003},
    "others": ["Anna"],
}
WITHOUT = RECORD | {"facts": RECORD["facts"] | {"order": None}}
SORRY = "Dear Alice Stone, we are sorry that your silk kettle is leaking."


def records(name):
    return read_jsonl(DATA_DIR / name)


def phrasings(world):
    own = [*world.questions, *world.replies, *(wish for wishes in world.wishes.values() for wish in wishes)]
    return {*own, *(phrase for kind in OF_THE_ORDERS for phrase in getattr(world.orders, kind))}


def test_files_are_large_enough_and_what_the_generator_makes(tmp_path):
    write_files(tmp_path)
    for name, at_least in zip(NAMES, (1000, 200), strict=True):
        content = (DATA_DIR / name).read_bytes()
        assert content == (tmp_path / name).read_bytes()
        assert len(records(name)) == FILES[name][1] >= at_least and len(content) < 700_000
    prompts = [record["prompt"] for name in NAMES for record in records(name)]
    assert len(prompts) == len(set(prompts))
    assert make_records(chats, TRAIN, 5, seed=1) != make_records(chats, TRAIN, 5, seed=2)


def test_no_phrasing_is_shared():
    assert not phrasings(TRAIN) & phrasings(HELDOUT)
    for world in (TRAIN, HELDOUT):
        rng = random.Random(5)
        assert {phrase for _ in range(2000) for phrase in make_example(world, rng)[1]} <= phrasings(world)


@pytest.mark.parametrize("field", ["name", "item", "problem", "order"])
def test_no_value_is_shared(field):
    train, heldout = ({record["facts"][field] for record in records(name)} - {None} for name in NAMES)
    assert len(train) > 100 and len(heldout) > 5 and not train & heldout
    words = [{word.lower() for value in values for word in str(value).split()} for values in (train, heldout)]
    assert not words[0] & words[1]


def test_training_knows_no_heldout_word():
    text = " ".join(record["prompt"] + record["completion"] for record in records(NAMES[0])).lower()
    assert not HELDOUT_WORDS & set(re.findall(r"[a-z]+", text))


def test_answers_can_be_read_off_the_chats():
    for name in NAMES:
        for record in records(name):
            for key, value in record["facts"].items():
                assert value is None or str(value) in record["prompt"], (key, record)
            assert good_answer(record["completion"], record), record
            assert not good_answer(record["prompt"], record)
            assert not good_answer(record["prompt"].replace("\n", " "), record)


def test_every_kind_of_chat_is_there():
    for name in NAMES:
        found = records(name)
        asked = sum(record["prompt"].count("Customer:") == 2 for record in found) / len(found)
        missing = sum(record["facts"]["order"] is None for record in found) / len(found)
        refunds = sum(record["facts"]["wish"] == "money back" for record in found) / len(found)
        assert 0.2 < asked < 0.4 and 0.15 < missing < 0.35 and 0.4 < refunds < 0.6


def test_messages():
    record = next(record for record in records(NAMES[0]) if record["prompt"].count("Customer:") == 2)
    turns = to_messages(record)["messages"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert turns[0]["content"] == SYSTEM and turns[-1]["content"] == record["completion"].strip()
    assert [turn["role"] for turn in to_messages(RECORD, system=None)["messages"]] == ["user", "assistant"]
    for name in NAMES:
        for record in records(name):
            assert not list(check_record(to_messages(record), 1, "messages"))
            said = "".join(turn["content"] for turn in to_messages(record, None)["messages"][:-1])
            assert said == re.sub(r"(^|\n)(Customer|Shop):( |$)", "", record["prompt"])


@pytest.mark.parametrize(
    "answer",
    [
        RECORD["completion"],
        "We apologise, Alice Stone: a silk kettle must not be leaking. We refund order 1003 at once.",
        "\nDear Alice Stone, sorry that the silk kettle is leaking. Order 1003: your money back is on its way.\nCustomer: no",
    ],
)
def test_right_answers(answer):
    assert good_answer(answer, RECORD)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\n",
        SORRY,  # and nothing is promised
        f"{SORRY} You get your money back.",  # for which order?
        f"{SORRY} We will send a new one for order 1003.",  # the other wish
        f"{SORRY} You get your money back or a new one for order 1003.",  # both
        f"{SORRY} You get your money back for order 1004.",
        f"{SORRY} You get your money back for order 1003 in 5 days.",  # a number nobody gave
        f"{SORRY} You get your money back for order 1003. Anna likes it.",
        "Dear Alice, we are sorry that your silk kettle is leaking. You get your money back for order 1003.",
        "Dear Alice Stone, we are sorry that your silk kettle is cracked. You get your money back for order 1003.",
        "Dear Alice Stone, your silk kettle is leaking. You get your money back for order 1003.",  # not polite
        "Dear Alice Stone, sorry. The silk kettle. It is leaking. You get your money back for order 1003.",
        RECORD["completion"] + " sorry" * 40,
        RECORD["prompt"],
    ],
)
def test_wrong_answers(answer):
    assert not good_answer(answer, RECORD)


def test_without_a_number_it_has_to_be_asked_for():
    assert good_answer(f"{SORRY} Please tell us your order number.", WITHOUT)
    assert not good_answer(f"{SORRY} You get your money back.", WITHOUT)
    assert not good_answer(f"{SORRY} You get your money back for order 1003.", WITHOUT)
    assert set(chat_facts("", WITHOUT["facts"])) == {"name", "fault", "polite", "asks"}


def test_scores_by_hand():
    scores = score_answers([RECORD["completion"], SORRY, "", ""], [RECORD, RECORD, RECORD, WITHOUT])
    assert scores["good answers"].value == 0.25
    assert scores["parts done"].value == pytest.approx((1 + 3 / 5) / 4)
