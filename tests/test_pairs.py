"""Preference pairs in the checker: each fault has its line, field and remedy; a good file passes; SFT refuses pairs."""

import json

import pytest

from shared.data.__main__ import main
from shared.data.checker import check_file
from shared.data.faults import check_record, format_of, read_jsonl
from shared.data.pairs import is_pair, pair_digests, sides
from shared.data.records import load_examples, to_examples
from shared.errors import DataError
from shared.models import load_tokenizer
from shared.profile import ROOT, TINY_MODEL

GOOD = [{"prompt": f"What is {n} + 1?", "chosen": f" {n + 1}", "rejected": f" {n + 2}"} for n in range(30)]


def without(*fields):
    return {name: value for name, value in GOOD[1].items() if name not in fields}


# name: (the second record, the field, words of the problem, words of the remedy)
FAULTS = {
    "equal sides": (GOOD[1] | {"rejected": " 2"}, "rejected", "the same as chosen", "remove the pair"),
    "equal but for spaces": (GOOD[1] | {"rejected": "2 \n"}, "rejected", "the same as chosen", "remove the pair"),
    "no rejected side": (without("rejected"), "rejected", "the rejected side is missing", "add it"),
    "no chosen side": (without("chosen"), "chosen", "the chosen side is missing", "preferred"),
    "no prompt": (without("prompt"), "prompt", "the prompt is missing", "only the answers as 'chosen'"),
    "empty side": (GOOD[1] | {"chosen": ""}, "chosen", "it is empty", "fill it in"),
    "blank side": (GOOD[1] | {"rejected": " \n"}, "rejected", "it is empty", "remove the record"),
    "a number": (GOOD[1] | {"rejected": 3}, "rejected", "3 is not text", "double quotes"),
    "turns": (GOOD[1] | {"chosen": [{"role": "assistant", "content": "2"}]}, "chosen", "is not text", "double quotes"),
    "another format": (
        {"prompt": "a", "completion": "b"},
        "",
        "a prompt-completion record among preference",
        "one format",
    ),
}


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", FAULTS)
def test_fault_has_line_field_and_remedy(tmp_path, name):
    record, field, problem, remedy = FAULTS[name]
    path, told = write(tmp_path / "my.jsonl", [GOOD[0], record, *GOOD[2:]]), []
    check_file(path, tell=told.append)
    assert len(told) == 1 and told[0].startswith("line 2" + (f", {field}:" if field else ":")), told
    assert problem in told[0] and remedy in told[0]
    with pytest.raises(DataError, match="line 2") as error:
        read_jsonl(path)
    assert problem in str(error.value) and remedy in str(error.value)


def test_both_sides_missing_are_told_where_pairs_are_expected():
    found = list(check_record({"prompt": "a"}, 7, "preference"))
    assert [(finding.line, finding.field) for finding in found] == [(7, "chosen"), (7, "rejected")]


def test_a_pair_among_other_records(tmp_path):
    path, told = write(tmp_path / "my.jsonl", [{"prompt": "a", "completion": "b"}, GOOD[0]]), []
    check_file(path, tell=told.append)
    assert told == ["line 2: a preference record among prompt-completion records; keep one format in a data set"]


def test_good_pairs_pass_and_more_pairs_of_a_prompt_are_no_fault(tmp_path):
    more = {**GOOD[0], "rejected": " 17"}
    told = []
    summary = check_file(write(tmp_path / "my.jsonl", [*GOOD, more]), tell=told.append)
    assert told == [] and summary.records == 31 and summary.format == "preference" and not summary.kinds
    assert format_of(GOOD[0]) == "preference" and to_examples([more]) == [more]


def test_repeated_and_reversed_pairs(tmp_path):
    swapped = {"prompt": GOOD[0]["prompt"], "chosen": GOOD[0]["rejected"], "rejected": GOOD[0]["chosen"]}
    told = []
    summary = check_file(write(tmp_path / "my.jsonl", [*GOOD, GOOD[3], swapped]), tell=told.append)
    assert told == [
        "line 31: the record stands in line 4 already; keep one of equal records",
        "line 32, chosen: line 1 prefers the other of the same two answers; keep one of the two verdicts",
    ]
    assert summary.duplicates == summary.contradictions == 1


def test_overlap_and_a_field_that_stands_twice(tmp_path):
    mine, other, told = write(tmp_path / "my.jsonl", GOOD[:3]), write(tmp_path / "other.jsonl", GOOD[2:5]), []
    assert check_file(mine, against=other, tell=told.append).overlap == 1 and told[0].startswith(
        "line 3: the record is in"
    )
    mine.write_text('{"prompt": "a", "chosen": "b", "chosen": "c", "rejected": "d"}\n')
    check_file(mine, tell=told.append)
    assert told[-1].startswith("line 1: a field stands in it twice")


def test_both_sides_are_counted(tmp_path):
    tokenizer, long = load_tokenizer(TINY_MODEL), {**GOOD[1], "rejected": " 3" * 40}
    told = []
    summary = check_file(write(tmp_path / "my.jsonl", [GOOD[0], long]), tokenizer, 32, tell=told.append)
    assert len(summary.lengths) == 4 and summary.truncated == 1 and told[0].startswith("line 2: ")


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PROFILE", "tiny")
    for records, status in ((GOOD, 0), ([*GOOD, FAULTS["equal sides"][0]], 1)):
        path = write(tmp_path / "my.jsonl", records)
        monkeypatch.setattr("sys.argv", ["shared.data", "check", str(path)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == status
    assert "line 31, rejected: it is the same as chosen" in capsys.readouterr().out


def test_instruction_tuning_refuses_pairs(tmp_path):
    path = write(tmp_path / "my.jsonl", GOOD)
    orders = ROOT / "shared/data/orders-heldout.jsonl"
    with pytest.raises(DataError, match=r"my.jsonl holds pairs of answers.*renamed to 'completion'"):
        load_examples(str(path), orders, orders, seed=0)


def test_small_parts():
    assert is_pair({"chosen": ""}) and not is_pair({"prompt": "", "completion": ""})
    assert sides(GOOD[0]) == [
        {"prompt": "What is 0 + 1?", "completion": " 1"},
        {"prompt": "What is 0 + 1?", "completion": " 2"},
    ]
    assert sides({"text": "a"}) == [{"text": "a"}]
    whole, of_prompt = pair_digests(GOOD[0])
    swapped = GOOD[0] | {"chosen": " 2", "rejected": " 1"}
    assert pair_digests(swapped)[0] != whole and pair_digests(swapped)[1] == of_prompt
