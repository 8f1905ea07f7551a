"""Support tickets: nothing held out occurs in training, labels are balanced, and no word alone gives the label away."""

import random
import re
from collections import Counter, defaultdict

import pytest

from shared.data import DATA_DIR, read_jsonl, tickets
from shared.data.faults import check_record
from shared.data.files import make_records, write_files
from shared.data.tickets import FILES, HELDOUT, LABELS, TRAIN, make_example
from shared.data.wordlists import HELDOUT_WORDS

NAMES = ("tickets-train.jsonl", "tickets-heldout.jsonl")
OF_THE_ORDERS = ("greetings", "introductions", "signatures", "order_numbers")


def records(name):
    return read_jsonl(DATA_DIR / name)


def phrasings(world):
    own = [phrase for kind in (world.matters, world.asides) for phrases in kind.values() for phrase in phrases]
    return [*own, *(phrase for kind in OF_THE_ORDERS for phrase in getattr(world.orders, kind))]


def test_files_are_large_enough_and_what_the_generator_makes(tmp_path):
    write_files(tmp_path)
    for name, at_least in zip(NAMES, (1000, 200), strict=True):
        content = (DATA_DIR / name).read_bytes()
        assert content == (tmp_path / name).read_bytes()
        assert len(records(name)) == FILES[name][1] >= at_least and len(content) < 400_000
    prompts = [record["prompt"] for name in NAMES for record in records(name)]
    assert len(prompts) == len(set(prompts))
    assert make_records(tickets, TRAIN, 5, seed=1) == make_records(tickets, TRAIN, 5, seed=1)
    assert make_records(tickets, TRAIN, 5, seed=1) != make_records(tickets, TRAIN, 5, seed=2)


def test_no_phrasing_is_shared_and_none_stands_twice():
    assert not set(phrasings(TRAIN)) & set(phrasings(HELDOUT))
    for world, matters, asides in ((TRAIN, 24, 8), (HELDOUT, 8, 4)):
        own = [p for kind in (world.matters, world.asides) for phrases in kind.values() for p in phrases]
        assert len(own) == len(set(own))
        assert all(len(world.matters[label]) >= matters for label in LABELS)
        assert all(len(world.asides[label]) == asides for label in LABELS)
        rng = random.Random(5)
        assert {phrase for _ in range(2000) for phrase in make_example(world, rng)[1]} <= set(phrasings(world))


def test_training_knows_no_heldout_word():
    text = " ".join(record["prompt"] for record in records(NAMES[0])).lower()
    assert not HELDOUT_WORDS & set(re.findall(r"[a-z]+", text))


@pytest.mark.parametrize("name", NAMES)
def test_records(name):
    found = records(name)
    for number, record in enumerate(found, 1):
        assert not list(check_record(record, number, "prompt-completion"))
        assert record["completion"] == f" {record['label']}" and record["label"] in LABELS
        assert re.fullmatch(r"Ticket: .+\nMatter:", record["prompt"])
        assert record["aside"] is None or record["aside"] in set(LABELS) - {record["label"]}
    counts = Counter(record["label"] for record in found)
    assert set(counts) == set(LABELS)
    assert all(abs(count / len(found) - 1 / 6) < 0.03 for count in counts.values()), counts
    assert 0.25 < sum(record["aside"] is not None for record in found) / len(found) < 0.35


def test_the_matter_is_in_the_ticket_and_the_aside_is_not_one():
    for world in (TRAIN, HELDOUT):
        rng = random.Random(7)
        for _ in range(500):
            record, used = make_example(world, rng)
            assert sum(phrase in world.matters[record["label"]] for phrase in used) == 1
            others = [label for label in LABELS if any(phrase in world.asides[label] for phrase in used)]
            assert others == ([record["aside"]] if record["aside"] else [])


def test_no_subject_word_gives_the_label_away():
    labels_of = defaultdict(set)
    for record in records(NAMES[0]):
        for word in re.findall(r"[a-z]+", record["prompt"].lower()):
            labels_of[word].add(record["label"])
    for (
        word
    ) in "parcel courier driver van fault broke scratch invoice bill voucher charged return back password".split():
        assert len(labels_of[word]) >= 3, (word, labels_of[word])
