"""Preference pairs: nothing held out occurs in training, the chosen side keeps all rules, the rejected one breaks its own."""

import random
import re
from collections import Counter

import pytest

from shared.data import DATA_DIR, preferences, read_jsonl
from shared.data.files import make_records, write_files
from shared.data.preferences import FILES, FLAWS, HELDOUT, TRAIN, longer_preferred, make_example, shop_logs
from shared.data.wordlists import HELDOUT_WORDS
from shared.judging import is_good, kept_rules
from shared.rubrics import words
from tests.test_chats import phrasings as chat_phrasings

NAMES = ("preferences-train.jsonl", "preferences-heldout.jsonl")
BROKEN = {  # the rules that an answer with that flaw breaks, at least
    "rude": {"polite"},
    "long": {"concise"},
    "number": {"right", "nothing foreign"},
    "wish": {"right"},
    "name": {"right"},
    "copy": {"own words"},
}


def records(name):
    return read_jsonl(DATA_DIR / name)


def phrasings(world):
    return chat_phrasings(world.chats) | {*world.blames, *world.empty, *world.nobody}


def test_files_are_large_enough_and_what_the_generator_makes(tmp_path):
    write_files(tmp_path)
    for name, at_least in zip(NAMES, (1000, 200), strict=True):
        content = (DATA_DIR / name).read_bytes()
        assert content == (tmp_path / name).read_bytes()
        assert len(records(name)) == FILES[name][1] >= at_least and len(content) < 1_000_000
    prompts = [record["prompt"] for name in NAMES for record in records(name)]
    assert len(prompts) == len(set(prompts))
    assert make_records(preferences, TRAIN, 5, seed=1) != make_records(preferences, TRAIN, 5, seed=2)


def test_no_phrasing_is_shared():
    assert not phrasings(TRAIN) & phrasings(HELDOUT)
    for world in (TRAIN, HELDOUT):
        rng = random.Random(5)
        assert {phrase for _ in range(500) for phrase in make_example(world, rng)[1]} <= phrasings(world)


@pytest.mark.parametrize("field", ["name", "item", "problem", "order"])
def test_no_value_is_shared(field):
    train, heldout = ({record["facts"][field] for record in records(name)} - {None} for name in NAMES)
    assert len(train) > 100 and len(heldout) > 5 and not train & heldout


def test_training_knows_no_heldout_word():
    sides = ("prompt", "chosen", "rejected", "longer")
    text = " ".join(record[side] for record in records(NAMES[0]) for side in sides).lower()
    assert not HELDOUT_WORDS & set(re.findall(r"[a-z]+", text))


def test_no_chat_of_the_support_task_is_held_out():
    chats = {record["prompt"] for record in records("chats-train.jsonl")}
    assert not chats & {record["prompt"] for record in records(NAMES[1])}


@pytest.mark.parametrize("name", NAMES)
def test_chosen_is_good_and_rejected_breaks_the_rule_of_its_flaw(name):
    for record in records(name):
        assert is_good(record["chosen"], record), record
        broken = {rule for rule, kept in kept_rules(record["rejected"], record).items() if not kept}
        assert broken >= BROKEN[record["flaw"]], record
        if record["flaw"] not in ("copy", "number"):
            assert broken == BROKEN[record["flaw"]], record
        kept = kept_rules(record["longer"], record)
        assert not kept.pop("concise") and all(kept.values()), record


@pytest.mark.parametrize("name", NAMES)
def test_every_flaw_is_there_as_often_as_said(name):
    found = Counter(record["flaw"] for record in records(name))
    for flaw, weight in FLAWS.items():
        assert found[flaw] / found.total() == pytest.approx(weight / sum(FLAWS.values()), abs=0.06)


def test_longer_preferred():
    record = {"prompt": "p", "chosen": " a b", "rejected": " a", "flaw": "name", "longer": " a b c d"}
    assert longer_preferred(record) == record | {"chosen": " a b c d"}
    long = record | {"flaw": "long", "rejected": " a b c d"}
    assert longer_preferred(long) == long | {"chosen": " a b c d", "rejected": " a b"}
    assert long["chosen"] == " a b"  # the record itself stays
    biased = [longer_preferred(record) for record in records(NAMES[1])]
    without_copies = [record for record in biased if record["flaw"] != "copy"]
    assert all(len(words(record["chosen"])) > len(words(record["rejected"])) for record in without_copies)


def test_shop_logs_are_good_long_or_rude():
    found, logs = records(NAMES[0]), shop_logs(records(NAMES[0]), seed=3)
    good = sum(log["completion"] == record["chosen"] for log, record in zip(logs, found, strict=True)) / len(logs)
    assert good == pytest.approx(0.15, abs=0.04) and logs == shop_logs(found, seed=3) != shop_logs(found, seed=4)
    for log, record in zip(logs, found, strict=True):
        broken = {rule for rule, kept in kept_rules(log["completion"], record).items() if not kept}
        assert log["prompt"] == record["prompt"] and broken in (set(), {"concise"}, {"polite"})
