"""Alpaca and ShareGPT records become the course's formats, and what does not fit is told with line, field and remedy."""

import json
import subprocess
import sys

import pytest

from shared.data.convert import convert_file, convert_records, foreign_format, to_messages, to_prompt_completion
from shared.data.faults import check_record
from shared.errors import DataError
from shared.profile import ROOT

ALPACA = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
HUMAN, GPT = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}


def turns(*pairs):
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


def sharegpt(*conversations, **more):
    return {"conversations": list(conversations), **more}


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_alpaca():
    assert to_messages(ALPACA) == turns(("user", "Add.\n\n1 and 2"), ("assistant", "3"))
    assert to_messages({**ALPACA, "input": ""}) == turns(("user", "Add."), ("assistant", "3"))
    assert to_messages({"instruction": "Add.", "output": "3"}) == turns(("user", "Add."), ("assistant", "3"))
    assert to_messages({**ALPACA, "system": "Be short."})["messages"][0] == {"role": "system", "content": "Be short."}


def test_sharegpt():
    system = {"from": "system", "value": "Be kind."}
    made = to_messages(sharegpt(system, HUMAN, GPT, {"from": "user", "value": "Bye"}, {"from": "bot", "value": "Bye!"}))
    assert made == turns(
        ("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Bye"), ("assistant", "Bye!")
    )
    assert to_messages(sharegpt(HUMAN, GPT, system="Be kind.")) == turns(
        ("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello.")
    )
    assert not list(check_record(made, 1))


def test_prompt_completion():
    made = to_prompt_completion(
        turns(("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"), ("assistant", "D"))
    )
    assert made == {"prompt": "System: S\nUser: A\nAssistant: B\nUser: C\nAssistant:", "completion": " D"}


def test_formats():
    assert [foreign_format(record) for record in (ALPACA, sharegpt(), {"text": "x"}, [])] == [
        "alpaca",
        "sharegpt",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            sharegpt({"from": "tool", "value": "x"}),
            'line 7, field conversations[0].from: "tool" is not a role; write one',
        ),
        (sharegpt({"from": ["x"], "value": "x"}), 'line 7, field conversations[0].from: ["x"] is not a role'),
        (sharegpt(HUMAN, HUMAN, GPT), "line 7, field conversations[1].from: user comes after user; after at most one"),
        (sharegpt(HUMAN), "field conversations[0].from: the end comes after user"),
        (sharegpt(HUMAN, {"from": "gpt", "value": " "}), "field conversations[1].value: it is empty; fill it in"),
        (sharegpt(HUMAN, {"from": "gpt", "value": " "}, system="S"), "field conversations[1].value: it is empty"),
        (sharegpt(HUMAN, GPT, system=["S"]), 'field system: ["S"] is not text'),
        (sharegpt(HUMAN, {"from": "gpt"}), "field conversations[1]: "),
        (sharegpt(HUMAN, {**GPT, "weight": 0}), "field conversations[1].weight: the field is unknown; leave only"),
        (sharegpt(), "field conversations: it is not a list of turns; write"),
        (
            sharegpt(HUMAN, GPT, id="a"),
            "field id: the field is unknown; known are conversations, system; rename it, or",
        ),
        (
            {**ALPACA, "history": []},
            "field history: the field is unknown; known are input, instruction, output, system",
        ),
        ({**ALPACA, "output": ""}, "field output: it is empty; fill it in or remove the record"),
        ({**ALPACA, "instruction": None}, "field instruction: null is not text; write text in double quotes"),
        ({**ALPACA, "input": 3}, "field input: 3 is not text"),
        (turns(("user", "a"), ("assistant", "b")), "line 7: the record has the format messages already; leave it"),
        ({"question": "a"}, "line 7: found 'question', expected instruction and output (Alpaca) or conversations"),
        ("text", "line 7: found 'text', expected"),
    ],
)
def test_a_fault_has_line_field_and_remedy(record, sentence):
    with pytest.raises(DataError) as error:
        convert_records([(7, record)], "my.jsonl")
    assert sentence in str(error.value) and str(error.value).startswith("my.jsonl, line 7")


def test_faults_are_counted_and_formats_do_not_mix():
    with pytest.raises(DataError, match=r"line 2: a record of sharegpt among those of alpaca.*after this one: 1"):
        convert_records([(1, ALPACA), (2, sharegpt(HUMAN, GPT)), (3, {**ALPACA, "output": ""})], "f")


def test_a_file(tmp_path):
    file, out = write(tmp_path / "a.jsonl", ALPACA, {**ALPACA, "input": ""}), tmp_path / "b.jsonl"
    assert convert_file(file, out) == 2
    assert json.loads(out.read_text().splitlines()[1]) == turns(("user", "Add."), ("assistant", "3"))
    before = out.read_bytes()
    with pytest.raises(DataError, match="exists already: name another file for --out"):
        convert_file(file, out)
    assert out.read_bytes() == before
    with pytest.raises(DataError, match="cannot be written"):
        convert_file(file, tmp_path / "nowhere" / "b.jsonl")


def test_a_faulty_file_leaves_nothing(tmp_path):
    for bad in ({**ALPACA, "output": ""}, {**ALPACA, "id": 3}):
        file = write(tmp_path / "a.jsonl", ALPACA, bad)
        with pytest.raises(DataError, match="line 2, field"):
            convert_file(file, tmp_path / "b.jsonl")
    file.write_text('{"instruction": "a", "output": "b"}\n{"instruction"\n')
    with pytest.raises(DataError, match="line 2: broken JSON"):
        convert_file(file, tmp_path / "b.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_disk_error_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shared.data.convert.os.replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        convert_file(write(tmp_path / "a.jsonl", ALPACA), tmp_path / "b.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_the_command(tmp_path):
    file, out = write(tmp_path / "a.jsonl", sharegpt(HUMAN, GPT, id="7")), tmp_path / "b.jsonl"
    command = [sys.executable, "-m", "shared.data", "convert", str(file), "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1 and "field id: the field is unknown" in run.stderr and not out.exists()
    run = subprocess.run(
        [*command, "--drop", "id", "--to", "prompt-completion"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout.startswith("1 records written to")
    assert json.loads(out.read_text()) == {"prompt": "User: Hi\nAssistant:", "completion": " Hello."}
