"""Data sets of the reader's own: every fault is named with its line, field and remedy; no example is on both sides."""

import hashlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

from shared.data.faults import Finding, check_record, read_jsonl, scan_jsonl
from shared.data.records import load_examples, record_format, split_examples, to_examples
from shared.errors import DataError
from shared.profile import ROOT

PAIR = {"prompt": "2 + 2 =", "completion": " 4"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ORDERS = (ROOT / "shared/data/orders-train.jsonl", ROOT / "shared/data/orders-heldout.jsonl")


def turns(*contents: tuple[str, str]) -> dict:
    return {"messages": [{"role": role, "content": content} for role, content in contents]}


CHAT = turns(("system", "Be short."), ("user", "Hi"), ("assistant", "Hello"), ("user", "2 + 2?"), ("assistant", "4"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, so that messages name a file without its folders."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(records: list, name: str = "my.jsonl") -> Path:
    Path(name).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return Path(name)


def message(function, *arguments) -> str:
    with pytest.raises(DataError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def read_fault(*lines: str | bytes) -> str:
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    Path("my.jsonl").write_bytes(b"".join(line + b"\n" for line in raw))
    return message(read_jsonl, Path("my.jsonl"))


# Formats


@pytest.mark.parametrize(
    ("record", "name", "example"),
    [
        (PAIR | {"id": 7}, "prompt-completion", PAIR),
        ({"text": "Once.", "label": 0}, "text", {"text": "Once."}),
        (PAIR | {"text": "2 + 2 = 4"}, "prompt-completion", PAIR),
        (CHAT | {"prompt": "Hi"}, "messages", {"prompt": CHAT["messages"][:4], "completion": CHAT["messages"][4:]}),
        (
            {"messages": [{"role": "user", "content": "a", "id": 1}, {"role": "assistant", "content": "b", "id": 2}]},
            "messages",
            {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
        ),
    ],
)
def test_formats(folder, record, name, example):
    path = write([record, record])
    assert read_jsonl(path) == read_jsonl(str(path)) == [record, record]
    assert record_format([record]) == name
    assert to_examples([record]) == [example]
    assert list(check_record(record, 1)) == []


def test_blank_lines_crlf_byte_order_mark_and_line_separators_are_no_fault(folder):
    records = [PAIR, {"prompt": "a\u2028b", "completion": "ü"}]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    Path("my.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{lines[0]}\r\n\r\n{lines[1]}".encode())
    assert read_jsonl(Path("my.jsonl")) == records
    assert [line for line, _, _ in scan_jsonl(Path("my.jsonl"))] == [1, 3]


# Faults of one record


@pytest.mark.parametrize(
    ("record", "field", "problem", "remedy"),
    [
        (["a"], "", '["a"] is not an object', "write a record like"),
        ({}, "", "found no field", "name the fields so"),
        ({"x": 1}, "", "found 'x', expected 'prompt' and 'completion', or 'messages', or 'text'", "name the fields so"),
        (
            {"instruction": "", "output": ""},
            "",
            "",
            "rename 'instruction' to 'prompt' and rename 'output' to 'completion'",
        ),
        (
            {"instruction": "", "input": "", "output": ""},
            "",
            "",
            "join 'instruction' and 'input' to 'prompt' and rename 'output' to 'completion'",
        ),
        ({"input": "", "output": ""}, "", "", "rename 'input' to 'prompt' and rename 'output' to 'completion'"),
        ({"question": "", "answer": ""}, "", "", "rename 'question' to 'prompt' and rename 'answer' to 'completion'"),
        (
            {"Prompt": "", "Completion": ""},
            "",
            "",
            "rename 'Prompt' to 'prompt' and rename 'Completion' to 'completion'",
        ),
        ({"prompt": "", "completoin": ""}, "", "found 'prompt', 'completoin'", "rename 'completoin' to 'completion'"),
        ({"prompt": "", "id": ""}, "", "found 'prompt', 'id'", "name the fields so"),
        ({"conversations": []}, "", "found 'conversations'", "rename 'conversations' to 'messages'"),
        ({"Text": ""}, "", "found 'Text'", "rename 'Text' to 'text'"),
        ({"prompt": "a", "completion": " \n"}, "completion", "it is empty", "fill it in or remove the record"),
        ({"prompt": "", "completion": "a"}, "prompt", "it is empty", "fill it in or remove the record"),
        ({"prompt": "a", "completion": 4}, "completion", "4 is not text", "write text in double quotes"),
        ({"prompt": "a", "completion": None}, "completion", "null is not text", "write text in double quotes"),
        ({"prompt": [{"role": "user"}], "completion": "a"}, "prompt", '[{"role": "user"}] is not text', ""),
        ({"text": "a\ud800"}, "text", "surrogate", "remove that half"),
        ({"messages": []}, "messages", "[] is not a list of turns", 'write [{"role": ..., "content": ...}, ...]'),
        ({"messages": "Hi"}, "messages", '"Hi" is not a list of turns', 'write [{"role": ..., "content": ...}, ...]'),
        ({"messages": ["Hi"]}, "messages[0]", '"Hi" lacks role or content', 'write {"role": ..., "content": ...}'),
        ({"messages": [{"from": "human", "value": "a"}]}, "messages[0]", "lacks role", "not from and value"),
        (turns(("user", "a"), ("gpt", "b")), "messages[1].role", '"gpt" is not a role', "assistant (for gpt"),
        (turns((["user"], "a")), "messages[0].role", '["user"] is not a role', "write system, user"),
        (turns(("user", "a"), ("assistant", " ")), "messages[1].content", "it is empty", "fill it in"),
        (turns(("user", None), ("assistant", "b")), "messages[0].content", "null is not text", "write text"),
        (
            turns(("user", "a"), ("user", "b"), ("assistant", "c")),
            "messages[1].role",
            "user comes after user",
            "alternate",
        ),
        (turns(("user", "a"), ("system", "b")), "messages[1].role", "system comes after user", "at most one system"),
        (turns(("assistant", "a")), "messages[0].role", "assistant comes after the start", "alternate"),
        (turns(("system", "a"), ("assistant", "b")), "messages[1].role", "assistant comes after system", "alternate"),
        (turns(("system", "a")), "messages[0].role", "the end comes after system", "assistant last"),
        (
            turns(*[("user", "a"), ("assistant", "b")] * 2, ("user", "c")),
            "messages[4].role",
            "the end comes after user",
            "",
        ),
    ],
)
def test_a_record_has_one_fault(folder, record, field, problem, remedy):
    findings = list(check_record(record, 7))
    assert [(finding.line, finding.field) for finding in findings] == [(7, field)]
    assert problem in findings[0].problem and remedy in findings[0].remedy
    write([record])
    if isinstance(record, dict):
        place = f"my.jsonl, line 1, field {field}: " if field else "my.jsonl, line 1: "
        assert message(read_jsonl, Path("my.jsonl")) == f"{place}{findings[0].problem}; {findings[0].remedy}."
        assert message(to_examples, [record]).startswith("the data set, record 1")


def test_all_faults_of_a_record_are_found():
    assert list(check_record({"prompt": "", "completion": 4}, 3)) == [
        Finding(3, "prompt", "it is empty", "fill it in or remove the record"),
        Finding(3, "completion", "4 is not text", "write text in double quotes"),
    ]


# Faults of a file


def test_mixed_formats_name_the_line(folder):
    good = json.dumps(PAIR)
    fault = "a text record among prompt-completion records; keep one format in a data set"
    assert read_fault(good, good, '{"text": "a"}') == f"my.jsonl, line 3: {fault}."
    assert message(record_format, [PAIR, {"text": "a"}]) == f"the data set, record 2: {fault}."


def test_a_later_record_lacks_a_field(folder):
    assert read_fault(json.dumps(PAIR), '{"prompt": "a", "output": "b"}') == (
        "my.jsonl, line 2, field completion: found 'prompt', 'output', expected 'prompt' and 'completion'; "
        "rename 'output' to 'completion'."
    )


def test_the_first_fault_is_told_and_the_others_are_counted(folder):
    text = read_fault(
        json.dumps(PAIR), "", '{"prompt": "a", "completion": ""}', "{", '{"prompt": "", "completion": ""}'
    )
    assert text == (
        "my.jsonl, line 3, field completion: it is empty; fill it in or remove the record (faults after this one: 3)."
    )
    assert [len(findings) for _, _, findings in scan_jsonl(Path("my.jsonl"))] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"prompt": "a" "completion": "b"}', "broken JSON (at column 16: Expecting ',' delimiter)"),
        ('{"prompt": "a", "completion": "b', "broken JSON (at column 31: Unterminated string starting at)"),
        ("{", "broken JSON (at column "),
        ("prompt,completion", "broken JSON (at column 1: Expecting value)"),
        ('{"prompt": ' + "[" * 100_000, "broken JSON (maximum recursion depth exceeded"),
        ('{"prompt": ' + "1" * 5000 + "}", "broken JSON (Exceeds the limit"),
        (b'{"prompt": "caf\xe9"}', "byte 16 is not UTF-8; save the file as UTF-8."),
        (b'\xfe{"text": "a"}', "byte 1 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_a_line_that_is_no_json(folder, line, problem):
    text = read_fault(line)
    assert text.startswith(f"my.jsonl, line 1: {problem}")
    assert "UTF-8" in problem or "; write one JSON object on each line" in text
    assert read_fault(json.dumps(PAIR), line).startswith(f"my.jsonl, line 2: {problem}")


def test_a_record_over_several_lines(folder):
    text = read_fault(*json.dumps(PAIR, indent=2).splitlines())
    assert text.startswith("my.jsonl, line 1: broken JSON") and "one JSON object on each line" in text


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_an_empty_file(folder, content):
    Path("my.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"^my.jsonl"):
        read_jsonl(Path("my.jsonl"))


def test_missing_files_and_folders(folder):
    write([PAIR], "orders.jsonl")
    Path("sub").mkdir()
    write([PAIR], "sub/other.jsonl")
    assert message(read_jsonl, Path("order.jsonl")) == (
        "order.jsonl cannot be read (No such file or directory): name a JSONL file, like orders.jsonl."
    )
    assert (
        message(read_jsonl, Path("sub")) == "sub cannot be read (Is a directory): name a JSONL file, like other.jsonl."
    )
    assert f"seen from {folder}" in message(read_jsonl, Path("nowhere/x.jsonl"))


# The conversions that the messages name are run


def converted(name: str) -> list[dict]:
    text = message(read_jsonl, Path(name))
    assert text.startswith(f"{name} is not JSONL, one object on each line: convert it by `import pandas; ")
    exec(text.split("`")[1])
    return read_jsonl(Path(f"{Path(name).stem}-lines.jsonl"))


def test_conversions(folder):
    Path("a.csv").write_text("prompt,completion\n2 + 2,4\nnone?,NA\n")
    assert converted("a.csv") == [{"prompt": "2 + 2", "completion": "4"}, {"prompt": "none?", "completion": "NA"}]
    for name, records in {"b.json": [{"prompt": "1", "completion": "2024-01-02"}], "c.jsonl": [CHAT]}.items():
        Path(name).write_text(json.dumps(records, indent=1))
        assert converted(name) == records
    Path("d.txt").write_text("First.\nStill first.\n\n\n\nSecond.")
    assert [record["text"].strip() for record in converted("d.txt")] == ["First.\nStill first.", "Second."]
    Path("b.json").unlink()
    write([PAIR], "b.json")
    assert read_jsonl(Path("b.json")) == [PAIR]


# Splits


def numbered(count: int) -> list[dict]:
    return [{"text": f"number {number}"} for number in range(count)]


@pytest.mark.parametrize(("count", "heldout"), [(20, 2), (24, 2), (26, 3), (1000, 100), (4000, 400), (9000, 400)])
def test_a_tenth_is_held_out(count, heldout):
    train, held = split_examples(numbered(count), 42, "my.jsonl")
    assert (len(train), len(held)) == (count - heldout, heldout)
    assert sorted(train + held, key=str) == sorted(numbered(count), key=str)
    assert train == [example for example in numbered(count) if example not in held]


def test_the_seed_decides_the_split():
    splits = [split_examples(numbered(200), seed, "my.jsonl") for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize("copies", [[1] * 19 + [500], [3] * 20, [500] * 20, [1, 2, 3, 4] * 10])
def test_equal_examples_stay_on_one_side(copies):
    examples = [{"text": f"number {number}"} for number, count in enumerate(copies) for _ in range(count)]
    for seed in range(20):
        train, heldout = split_examples(examples, seed, "my.jsonl")
        assert len(train) + len(heldout) == len(examples) and heldout
        assert not {example["text"] for example in train} & {example["text"] for example in heldout}
        assert len(heldout) <= max(0.1 * len(examples), min(copies))


def test_fewer_than_20_different_examples(folder):
    write([{"text": f"{number % 19}", "id": number} for number in range(30)])
    assert message(load_examples, "my.jsonl", *ORDERS, 42) == (
        "my.jsonl has 30 records, 19 of them different: add some, 20 different ones are needed to hold a tenth out."
    )


# Sources


def test_the_course_data():
    examples = load_examples(None, *ORDERS, 42)
    content = b"".join(path.read_bytes() for path in ORDERS)
    assert examples.train == to_examples(read_jsonl(ORDERS[0])) and examples.heldout == to_examples(
        read_jsonl(ORDERS[1])
    )
    assert examples.train[0].keys() == {"prompt", "completion"}
    assert examples.format == "prompt-completion"
    assert examples.source == "orders-train.jsonl and orders-heldout.jsonl"
    assert examples.sha256 == hashlib.sha256(content).hexdigest()


def test_the_course_files_have_one_format(folder):
    text = message(load_examples, None, write([PAIR], "a.jsonl"), write([CHAT], "b.jsonl"), 42)
    assert text.startswith("a.jsonl and b.jsonl, record 2: a messages record among prompt-completion records")


@pytest.mark.parametrize("source", ["my.jsonl", "./my.jsonl", "~/my.jsonl", "folder/my", "plain"])
def test_a_file_of_the_readers(folder, monkeypatch, source):
    monkeypatch.setenv("HOME", str(folder))
    Path("folder").mkdir()
    path = write(numbered(30), source.replace("~/", ""))
    examples = load_examples(source, *ORDERS, 42)
    assert (examples.train, examples.heldout) == split_examples(numbered(30), 42, source)
    assert (examples.format, examples.source) == ("text", source)
    assert examples.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("source", ["my.jsonl", "a/my.JSON", "x.csv", "x.txt", "./x", "/x/y", "~/x", "a\\b", "a/b/c"])
def test_a_file_that_is_missing_is_not_looked_for_on_the_hub(folder, monkeypatch, source):
    monkeypatch.setitem(sys.modules, "datasets", None)
    text = message(load_examples, source, *ORDERS, 42)
    assert "cannot be read (No such file or directory)" in text and source.strip("~./") in text


class Columns:
    """As much of datasets.Dataset as is used."""

    def __init__(self, records: list[dict], commit: str = COMMIT):
        self.records, self.column_names = records, list(records[0])
        self.cache_files = [{"filename": f"/cache/owner___name/default/0.0.0/{commit}/name-train.arrow"}]

    def select_columns(self, names):
        return Columns([{name: record[name] for name in names} for record in self.records])

    def to_list(self):
        return self.records


@pytest.fixture
def hub(folder, monkeypatch):
    """A Hub with the data set `loads`, which answers with the commit, or the error, `answer`."""
    fake = SimpleNamespace(answer=COMMIT, loads=Columns([record | {"id": 0} for record in numbered(30)]), asked=[])

    def dataset_info(_, name, revision=None, timeout=None):
        if isinstance(fake.answer, Exception):
            raise fake.answer
        return SimpleNamespace(id={"old": "owner/new"}.get(name, name), sha=revision or fake.answer)

    def load_dataset(name, revision, split):
        fake.asked.append((name, revision, split, config.HF_HUB_OFFLINE))
        if isinstance(fake.loads, Exception):
            raise fake.loads
        return fake.loads

    config = SimpleNamespace(HF_HUB_OFFLINE=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(config=config, load_dataset=load_dataset))
    yield fake
    assert config.HF_HUB_OFFLINE is False


def test_a_hub_data_set(hub):
    pairs = [{"prompt": f"{number}?", "completion": "yes"} for number in range(30)]
    hub.loads = Columns([{"id": 0} | pair for pair in pairs])
    examples = load_examples("owner/name", *ORDERS, 42)
    assert hub.asked == [("owner/name", COMMIT, "train", False)]
    assert examples.source == f"owner/name@{COMMIT} (unpinned)"
    assert (examples.train, examples.heldout) == split_examples(pairs, 42, "")
    canonical = "".join(f'{{"completion":"yes","prompt":"{number}?"}}\n' for number in range(30))
    assert examples.sha256 == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_pinned_hub_data_set(hub):
    pinned = "f" * 40
    assert load_examples(f"owner/name@{pinned}", *ORDERS, 42).source == f"owner/name@{pinned}"
    assert hub.asked == [("owner/name", pinned, "train", False)]
    assert "40 hexadecimal digits" in message(load_examples, "owner/name@main", *ORDERS, 42)


def test_without_the_hub_the_cache_serves_if_it_holds_the_commit(hub):
    hub.answer = OfflineModeIsEnabled("offline")
    assert load_examples("owner/name", *ORDERS, 42).source == f"owner/name@{COMMIT} (unpinned)"
    assert load_examples(f"owner/name@{COMMIT}", *ORDERS, 42).source == f"owner/name@{COMMIT}"
    assert [offline for *_, offline in hub.asked] == [True, True]
    text = message(load_examples, f"owner/name@{'f' * 40}", *ORDERS, 42)
    assert f"is in the cache as commit {COMMIT}, and the Hub does not answer: connect" in text
    hub.loads = ConnectionError("Couldn't reach 'owner/name' on the Hub")
    assert message(load_examples, "owner/name", *ORDERS, 42).startswith(
        "owner/name is not in the cache, and the Hub does not answer: name a JSONL file instead"
    )


def test_a_name_without_an_owner_is_looked_up_on_the_hub_alone(hub):
    assert load_examples("old", *ORDERS, 42).source == f"owner/new@{COMMIT} (unpinned)"
    assert hub.asked == [("owner/new", COMMIT, "train", False)]
    assert "json is neither a file here nor a data set" in message(load_examples, "json", *ORDERS, 42)
    hub.answer = OfflineModeIsEnabled("offline")
    assert ": write OWNER/NAME, or name a JSONL file" in message(load_examples, "json", *ORDERS, 42)
    assert len(hub.asked) == 1  # datasets would have read the JSON files of this folder


def test_a_hub_name_that_is_unknown_or_impossible(hub):
    hub.answer = HFValidationError("bad name")
    for source in ("what is this", "nobody/nothing"):
        text = message(load_examples, source, *ORDERS, 42)
        assert text.startswith(f"{source} is neither a file here nor a data set on the Hub that you may read: check")


def test_a_hub_data_set_that_does_not_fit(hub):
    hub.loads = ValueError("Config name is missing.\nPlease pick one among: ['main']")
    text = message(load_examples, "openai/gsm8k", *ORDERS, 42)
    assert "did not load (Config name is missing. Please pick one among: ['main']): name a JSONL file instead" in text
    hub.loads = Columns([{"question": "a", "answer": "b"}])
    text = message(load_examples, "owner/name", *ORDERS, 42)
    assert text.startswith(
        f"owner/name@{COMMIT} (unpinned): found 'question', 'answer', expected 'prompt' and 'completion'"
    )
    assert text.endswith(
        "; rename 'question' to 'prompt' and rename 'answer' to 'completion' "
        "and save it with to_json('my.jsonl') for DATASET."
    )
    hub.loads = Columns([*numbered(3), {"text": b"no JSON"}])
    assert re.search(r"record 4, field text: .* is not text", message(load_examples, "owner/name", *ORDERS, 42))
