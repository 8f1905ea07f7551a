"""Shop reports: nothing held out occurs in training, and a summary can be read off its report. And the rules that score."""

import random
import re

import pytest

from shared.data import DATA_DIR, read_jsonl
from shared.data.files import make_records, write_files
from shared.data.reports import FILES, HELDOUT, TRAIN, make_example
from shared.data.wordlists import HELDOUT_WORDS, NUMBER_WORDS
from shared.rubrics import copied_share, good_summary, report_facts, score_summaries

PHRASINGS = ("openings", "sold", "faults", "needs", "fillers")
NAMES = ("reports-train.jsonl", "reports-heldout.jsonl")
WORDS = {word: str(number) for number, word in NUMBER_WORDS.items()}
BOTH = {
    "prompt": "Report: Lisbon: we sold thirteen grey stools. It rains. Anna was ill. The kettle is leaking. "
    "We need 7 silk tents. The oak lamp is in the window.\nIn short:",
    "completion": " Lisbon sold 13 grey stools. One silk kettle was leaking. It needs 7 silk tents.",
    "facts": {
        "city": "Lisbon",
        "sold": "13 grey stools",
        "fault": ["silk kettle", "leaking"],
        "needs": "7 silk tents",
    },
    "others": ["Anna", "oak lamp"],
}
SALES_ONLY = {
    "prompt": "Report: Lisbon: we sold 13 grey stools. Anna was ill.\nIn short:",
    "completion": " Lisbon sold 13 grey stools.",
    "facts": {"city": "Lisbon", "sold": "13 grey stools", "fault": None, "needs": None},
    "others": ["Anna"],
}


def records(name):
    return read_jsonl(DATA_DIR / name)


def test_files_are_large_enough_and_what_the_generator_makes(tmp_path):
    write_files(tmp_path)
    for name, at_least in zip(NAMES, (1000, 200), strict=True):
        content = (DATA_DIR / name).read_bytes()
        assert content == (tmp_path / name).read_bytes()
        assert len(records(name)) == FILES[name][1] >= at_least and len(content) < 700_000
    prompts = [record["prompt"] for name in NAMES for record in records(name)]
    assert len(prompts) == len(set(prompts))
    assert make_records(*_task(), TRAIN, 5, seed=1) != make_records(*_task(), TRAIN, 5, seed=2)


def _task():
    from shared.data import reports

    return (reports,)


def test_no_phrasing_is_shared():
    for kind in PHRASINGS:
        assert not set(getattr(TRAIN, kind)) & set(getattr(HELDOUT, kind)), kind
    used = []
    for world in (TRAIN, HELDOUT):
        rng = random.Random(5)
        used.append({phrasing for _ in range(500) for phrasing in make_example(world, rng)[1]})
    assert not used[0] & used[1]
    assert used[1] == {phrasing for kind in PHRASINGS for phrasing in getattr(HELDOUT, kind)}


@pytest.mark.parametrize("field", ["city", "sold", "needs", "item", "problem"])
def test_no_value_is_shared(field):
    def value(facts):
        fault = facts["fault"] or (None, None)
        return {"item": fault[0], "problem": fault[1]}.get(field, facts.get(field))

    train, heldout = ({value(record["facts"]) for record in records(name)} - {None} for name in NAMES)
    assert len(train) > 100 and len(heldout) > 5 and not train & heldout
    parts = [{part.lower() for text in values for part in text.split()} for values in (train, heldout)]
    assert not parts[0] & parts[1]


def test_training_knows_no_heldout_word():
    text = " ".join(record["prompt"] + record["completion"] for record in records(NAMES[0])).lower()
    assert not HELDOUT_WORDS & set(re.findall(r"[a-z]+", text))


def test_summaries_can_be_read_off_the_reports():
    for name in NAMES:
        for record in records(name):
            report = re.sub(
                r"[a-z]+(?:-[a-z]+)?", lambda m: WORDS.get(m[0].lower(), m[0]), record["prompt"], flags=re.I
            )
            facts = record["facts"]
            for value in (facts["city"], facts["sold"], facts["needs"], *(facts["fault"] or ())):
                assert value is None or value.lower() in report.lower(), (value, record)
            assert good_summary(record["completion"], record), record


def test_the_report_itself_is_no_summary():
    for record in records(NAMES[1]):
        report = record["prompt"].removeprefix("Report: ").removesuffix("\nIn short:")
        assert not good_summary(report, record)
        assert not good_summary(record["completion"].strip() + " " + report, record)


@pytest.mark.parametrize(
    "answer",
    [
        "Lisbon sold 13 grey stools. One silk kettle was leaking. It needs 7 silk tents.",
        "13 grey stools were sold in Lisbon; the silk kettle is leaking. They need 7 silk tents.",
        "\n LISBON: sold 13 grey stools, silk kettle leaking. 7 silk tents are needed.\nAnd more.",
    ],
)
def test_right_summaries(answer):
    assert good_summary(answer, BOTH)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\n\n",
        "Lisbon sold 13 grey stools. It needs 7 silk tents.",  # a fact is missing
        "Lisbon sold 7 silk tents. One silk kettle was leaking. It needs 13 grey stools.",  # swapped
        "Lisbon sold 13 grey stools. One silk stool was leaking. The kettle. It needs 7 silk tents.",
        "Lisbon sold 13 grey stools. One silk kettle. It was leaking. It needs 7 silk tents.",  # apart
        "Lisbon sold 113 grey stools. One silk kettle was leaking. It needs 7 silk tents.",
        "Lisbon sold 13 grey stools. One silk kettle was leaking. It needs 7 silk tents and 2 lamps.",
        "Lisbon sold 13 grey stools. One silk kettle was leaking. It needs 7 silk tents. Anna was ill.",
        "Lisbon 13 grey stools silk kettle leaking 7 silk tents",  # a list of words says nothing
        "Lisbon sold 13 grey stools, sold 7 silk tents, needs 13 grey stools, needs 7 silk tents.",  # all ways at once
        BOTH["completion"] * 2,
    ],
)
def test_wrong_summaries(answer):
    assert not good_summary(answer, BOTH)


def test_a_need_that_nobody_has_is_an_error():
    assert good_summary("Lisbon sold 13 grey stools.", SALES_ONLY)
    assert not good_summary("Lisbon sold 13 grey stools. It needs more.", SALES_ONLY)
    assert set(report_facts("Lisbon", SALES_ONLY["facts"])) == {"city", "sold"}


def test_copied_share_by_hand():
    assert copied_share("a b c d e", "x a b c d y") == 0.5  # a b c d is there, b c d e is not
    assert copied_share("A b, c d!", "a b c d") == 1.0
    assert copied_share("a b c", "a b c") == copied_share("", "a b c d") == 0.0


def test_scores_by_hand():
    scores = score_summaries([BOTH["completion"], "Lisbon.", "", "no"], [BOTH] * 4)
    assert scores["good summaries"].value == 0.25
    assert scores["facts kept"].value == pytest.approx((1 + 1 / 4) / 4)
    assert scores["good summaries"].n == 4
