"""The data checker: each class of fault is found with its line, field and remedy; a good file passes; memory stays flat."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.data.checker import check_file
from shared.errors import DataError
from shared.models import load_tokenizer
from shared.profile import ROOT, TINY_MODEL

GOOD = [{"prompt": f"What is {n} + 1?", "completion": f" {n + 1}"} for n in range(5)]
LONG = "word " * 300


def chat(*roles: str) -> dict:
    return {"messages": [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles)]}


def lines(*records: object) -> bytes:
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


# name: (the file, the line of the fault, its field, words of the problem, words of the remedy)
FAULTS = {
    "not UTF-8": (lines(GOOD[0], b'{"prompt": "caf\xe9", "completion": "x"}'), 2, "", "byte 16 is not UTF-8", "UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf" + lines(*GOOD), 1, "", "byte order mark", "without one"),
    "CRLF": (b'{"prompt": "a", "completion": "b"}\r\n', 1, "", "CRLF", "LF"),
    "broken JSON": (lines(GOOD[0], b'{"prompt": "a", "completion": }'), 2, "", "column 31", "one JSON object"),
    "single quotes": (lines(b"{'prompt': 'a', 'completion': 'b'}"), 1, "", "double quotes", "one JSON object"),
    "no object": (lines(GOOD[0], "just text"), 2, "", "is not an object", "write a record like"),
    "missing field": (lines(GOOD[0], {"prompt": "a"}), 2, "completion", "expected 'prompt' and 'completion'", "name"),
    "misspelt field": (lines({"promt": "a", "completion": "b"}), 1, "", "found 'promt'", "rename 'promt' to 'prompt'"),
    "fields of another format": (lines({"instruction": "a", "output": "b"}), 1, "", "found", "to 'completion'"),
    "null": (lines(GOOD[0], {"prompt": "a", "completion": None}), 2, "completion", "null is not text", "double quotes"),
    "wrong type": (lines({"prompt": "a", "completion": 4}), 1, "completion", "4 is not text", "double quotes"),
    "empty prompt": (lines({"prompt": " ", "completion": "b"}), 1, "prompt", "it is empty", "fill it in"),
    "empty completion": (lines({"prompt": "a", "completion": ""}), 1, "completion", "it is empty", "fill it in"),
    "unknown role": (lines(chat("human", "assistant")), 1, "messages[0].role", "is not a role", "for human"),
    "two turns of one role": (
        lines(chat("user", "user", "assistant")),
        1,
        "messages[1].role",
        "after user",
        "alternate",
    ),
    "assistant first": (lines(chat("assistant", "user", "assistant")), 1, "messages[0].role", "the start", "alternate"),
    "system in the middle": (
        lines(chat("user", "system", "assistant")),
        1,
        "messages[1].role",
        "system",
        "at most one",
    ),
    "no assistant": (lines(chat("user")), 1, "messages[0].role", "the end comes after user", "assistant last"),
    "no turns": (lines({"messages": []}), 1, "messages", "is not a list of turns", "role"),
    "turn without content": (lines({"messages": [{"role": "user"}]}), 1, "messages[0]", "lacks role", "write"),
    "too long": (lines({"prompt": "a", "completion": LONG}), 1, "", "tokens are cut to 64", "--max-length"),
    "every label masked": (lines({"prompt": LONG, "completion": "b"}), 1, "prompt", "no token is left", "--max-length"),
    "special token": (lines({"prompt": "a", "completion": "b<|endoftext|>"}), 1, "completion", "special", "adds them"),
    "mixed formats": (lines(GOOD[0], {"text": "a"}), 2, "", "a text record among prompt-completion", "one format"),
    "duplicate": (lines(*GOOD, GOOD[1]), 6, "", "stands in line 2 already", "keep one"),
    "contradiction": (lines(GOOD[0], GOOD[0] | {"completion": " 7"}), 2, "completion", "line 1 answers", "keep one"),
    "control character": (lines({"prompt": "a\x07", "completion": "b"}), 1, "prompt", "'\\x07'", "remove control"),
    "half a surrogate pair": (lines(b'{"prompt": "a", "completion": "\\ud83d"}'), 1, "completion", "surrogate", "half"),
    "NaN": (lines({"prompt": "a", "completion": "b", "score": float("nan")}), 1, "", "NaN", "no text"),
    "a field twice": (lines(b'{"prompt": "a", "prompt": "c", "completion": "b"}'), 1, "", "twice", "keep one"),
    "huge line": (lines(GOOD[0], {"text": "x" * 2**24}, GOOD[1]), 2, "", "longer than 16 MiB", "one JSON object"),
}
REFUSED = {
    "array": (b"[" + lines(GOOD[0]) + b"]", "not JSONL, one object on each line: convert it by"),
    "gzip by another name": (gzip.compress(lines(*GOOD)), "compressed with gzip: unpack it first"),
    "UTF-16": (lines(*GOOD).decode().encode("utf-16"), "is UTF-16: save it as UTF-8"),
}


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY_MODEL)


def check(tmp_path, content: bytes, tokenizer=None, **options):
    path, told = tmp_path / "my.jsonl", []
    path.write_bytes(content)
    return check_file(path, tokenizer, 64, tell=told.append, **options), told


@pytest.mark.parametrize("name", FAULTS)
def test_each_class_of_fault_is_told_with_place_and_remedy(name, tmp_path, tokenizer):
    content, line, field, problem, remedy = FAULTS[name]
    summary, told = check(tmp_path, content, tokenizer)
    place = f"line {line}, {field}: " if field else f"line {line}: "
    assert len(told) == 1 and told[0].startswith(place), told
    assert problem in told[0].split("; ")[0] and remedy in told[0], told
    assert sum(summary.kinds.values()) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_no_jsonl_are_refused_in_a_sentence(name, tmp_path):
    content, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        check(tmp_path, content)


def test_there_are_more_than_25_classes():
    assert len(FAULTS) + len(REFUSED) >= 25


def test_a_good_file_passes_with_its_figures(tmp_path, tokenizer):
    summary, told = check(tmp_path, lines(*GOOD), tokenizer)
    assert told == [] and summary.records == 5 and summary.format == "prompt-completion"
    counts = [len(tokenizer(r["prompt"] + r["completion"])["input_ids"]) + 1 for r in GOOD]
    prompts = [len(tokenizer(r["prompt"])["input_ids"]) for r in GOOD]
    assert list(summary.lengths) == counts and summary.truncated == 0
    assert summary.trained == sum(counts) - sum(prompts)
    assert f"{max(counts)} at most" in str(summary) and "findings     0" in str(summary)


def test_chats_and_plain_texts_are_counted_too(tmp_path, tokenizer):
    summary, _ = check(tmp_path, lines(chat("user", "assistant")), tokenizer)
    assert summary.format == "messages" and 0 < summary.trained < sum(summary.lengths)
    summary, _ = check(tmp_path, lines({"text": "Once."}), tokenizer)
    assert summary.trained == sum(summary.lengths)


def test_many_findings_of_one_kind_are_counted(tmp_path):
    summary, told = check(tmp_path, lines(*[{"prompt": "", "completion": f"{n}"} for n in range(40)]))
    assert len(told) == 6 and told[-1].startswith("... and 35 more") and sum(summary.kinds.values()) == 40


def test_overlap_with_another_file(tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(lines(*GOOD[3:], {"prompt": "new", "completion": "x"}))
    summary, told = check(tmp_path, lines(*GOOD), against=other)
    assert summary.overlap == 2 and told[0].startswith("line 4: the record is in other.jsonl, too")


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "shared.data", "check", *arguments, "--model", str(TINY_MODEL)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_command_exits_with_0_or_1_and_never_with_a_traceback(tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_bytes(lines(*GOOD))
    bad.write_bytes(lines(*GOOD, {"prompt": "a"}))
    done = run(str(good))
    assert done.returncode == 0 and "findings     0" in done.stdout
    done = run(str(bad), "--max-length", "32")
    assert done.returncode == 1 and "line 6, completion:" in done.stdout and "Traceback" not in done.stderr
    done = run(str(tmp_path / "none.jsonl"))
    assert done.returncode == 1 and "cannot be read" in done.stderr and "Traceback" not in done.stderr


def test_the_courses_own_files_pass(tokenizer):
    for path in sorted(Path(ROOT / "shared/data").glob("*.jsonl")):
        told = []
        check_file(path, tokenizer, 256, tell=told.append)
        assert told == [], path.name


NAMES = st.sampled_from(["prompt", "completion", "messages", "text", "role", "content", "id"]) | st.text(max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
FILES = st.binary(max_size=200) | st.lists(VALUES.map(json.dumps), max_size=6).map("\n".join).map(str.encode)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=FILES)
@example(content=b"")
@example(content=b"\x00")
@example(content=b"\xff" * 99)
@example(content=b"null\n[1]\n")
@example(content=b"\r\n\r\n")
def test_no_input_makes_it_crash(content, tmp_path, tokenizer):
    try:
        summary, told = check(tmp_path, content, tokenizer)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert bool(told) == bool(sum(summary.kinds.values())) and str(summary)
