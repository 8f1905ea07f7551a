"""Alpaca and ShareGPT records into the course's formats: `python -m shared.data convert FILE --out FILE2`.

    Alpaca     {"instruction": "...", "input": "...", "output": "..."}        input may be empty or missing
    ShareGPT   {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}, ...]}

Both may have a field `system`. What does not fit stops the conversion with line, field and remedy: nothing is guessed,
and no record is left out in silence.
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from shared.data.faults import Finding, check_record, format_of, raise_first, scan_jsonl
from shared.errors import DataError

KEYS = {
    "alpaca": ({"instruction", "output"}, {"input", "system"}),  # needed, allowed
    "sharegpt": ({"conversations"}, {"system"}),
}
ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
TARGETS = ("messages", "prompt-completion")


def foreign_format(record: object) -> str | None:
    """ "alpaca" or "sharegpt", None where the record has the fields of neither."""
    names = set(record) if isinstance(record, dict) else set()
    return next((name for name, (needed, _) in KEYS.items() if needed <= names), None)


def to_messages(record: dict, line: int = 1, source: str = "the record", drop: Collection[str] = ()) -> dict:
    """An Alpaca or ShareGPT record in the messages format; raises DataError with the first fault's line and field.

    `drop`: fields that are not looked at. Alpaca's `input` goes below the instruction, after a blank line.
    """
    made, findings = _convert(record, line, None, drop)
    raise_first(findings, source, "line")
    return made


def to_prompt_completion(messages: dict) -> dict[str, str]:
    """A messages record as plain text: the turns as `User: ...`, one a line, and the last answer as completion."""
    *turns, answer = messages["messages"]
    prompt = "".join(f"{turn['role'].capitalize()}: {turn['content'].strip()}\n" for turn in turns)
    return {"prompt": f"{prompt}Assistant:", "completion": f" {answer['content'].strip()}"}


def convert_records(
    records: Iterable[tuple[int, dict]], source: str, target: str = "messages", drop: Collection[str] = ()
) -> list[dict]:
    """The records, pairs of line and record, in the format `target`; raises DataError naming the first fault of all."""
    if target not in TARGETS:
        raise ValueError(f"target={target!r}: expected {' or '.join(TARGETS)}")
    expected, found, findings = None, [], []
    for line, record in records:
        made, faults = _convert(record, line, expected, drop)
        expected = expected or foreign_format(record)
        findings += faults
        found.append(made)
    raise_first(findings, source, "line")
    return [to_prompt_completion(made) if target == "prompt-completion" else made for made in found]


def convert_file(path: Path, out: Path, target: str = "messages", drop: Collection[str] = ()) -> int:
    """Write the records of the JSONL file `path`, converted, to `out`; returns how many.

    Nothing stands under the name `out` before all of it is written. Raises DataError where `out` exists already or cannot
    be written, or a record is faulty.
    """
    if out.exists():
        raise DataError(f"{out} exists already: name another file for --out, or remove it first.")
    unfinished = out.with_name(f"{out.name}.unfinished")
    records = convert_records(_parsed(path), str(path), target, drop)
    try:
        unfinished.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        os.replace(unfinished, out)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise DataError(
            f"{out} cannot be written ({error.strerror}): name a file in a folder that is there."
        ) from error
    return len(records)


def _parsed(path: Path) -> Iterator[tuple[int, dict]]:
    """Line and record; raises DataError where a line is no JSON."""
    for line, record, findings in scan_jsonl(path):
        if record is None:
            raise_first(findings, path, "line")
        yield line, record


def _convert(record: object, line: int, expected: str | None, drop: Collection[str]) -> tuple[dict, list[Finding]]:
    name = foreign_format(record)
    if name is None or (expected and name != expected):
        return {}, [_no_format(record, line, name, expected)]
    needed, allowed = KEYS[name]
    if unknown := [key for key in record if key not in needed | allowed | set(drop)]:
        remedy = f"known are {', '.join(sorted(needed | allowed))}; rename it, or leave it out with --drop {unknown[0]}"
        return {}, [Finding(line, unknown[0], "the field is unknown", remedy)]
    return (_alpaca if name == "alpaca" else _sharegpt)(record, line)


def _no_format(record: object, line: int, name: str | None, expected: str | None) -> Finding:
    if name:
        return Finding(line, "", f"a record of {name} among those of {expected}", "keep one format in a file")
    if known := format_of(record):
        return Finding(line, "", f"the record has the format {known} already", "leave it as it is")
    fields = ", ".join(map(repr, record)) if isinstance(record, dict) else repr(record)[:40]
    wanted = "instruction and output (Alpaca) or conversations (ShareGPT)"
    return Finding(line, "", f"found {fields or 'no field'}, expected {wanted}", "name the fields so")


def _system(record: dict) -> list[dict[str, object]]:
    return [{"role": "system", "content": record["system"]}] if record.get("system") else []


def _alpaca(record: dict, line: int) -> tuple[dict, list[Finding]]:
    names = {"prompt": "instruction", "completion": "output"}
    checked = {"prompt": record["instruction"], "completion": record["output"]}
    findings = [Finding(f.line, names[f.field], f.problem, f.remedy) for f in check_record(checked, line)]
    extra = record.get("input") or ""
    if not isinstance(extra, str):
        findings.append(Finding(line, "input", f"{json.dumps(extra)[:40]} is not text", "write text in double quotes"))
    if findings:
        return {}, findings
    question = f"{record['instruction']}\n\n{extra}" if extra.strip() else record["instruction"]
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": record["output"]}]
    return _checked([*_system(record), *turns], line, lambda index: "system")


def _sharegpt(record: dict, line: int) -> tuple[dict, list[Finding]]:
    turns, first = [], _system(record)
    if not isinstance(record["conversations"], list) or not record["conversations"]:
        problem, remedy = "it is not a list of turns", 'write [{"from": ..., "value": ...}, ...]'
        return {}, [Finding(line, "conversations", problem, remedy)]
    for index, turn in enumerate(record["conversations"]):
        place = f"conversations[{index}]"
        if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys():
            remedy = 'write {"from": ..., "value": ...}'
            return {}, [Finding(line, place, f"{json.dumps(turn)[:40]} lacks from or value", remedy)]
        if unknown := turn.keys() - {"from", "value"}:
            key = sorted(unknown)[0]
            return {}, [Finding(line, f"{place}.{key}", "the field is unknown", "leave only from and value in a turn")]
        if not isinstance(turn["from"], str) or turn["from"] not in ROLES:
            problem, remedy = f"{json.dumps(turn['from'])[:40]} is not a role", f"write one of {', '.join(ROLES)}"
            return {}, [Finding(line, f"{place}.from", problem, remedy)]
        turns.append({"role": ROLES[turn["from"]], "content": turn["value"]})

    def named(index: int) -> str:
        return f"conversations[{index - len(first)}]" if index >= len(first) else "system"

    return _checked([*first, *turns], line, named)


def _checked(turns: list[dict], line: int, named) -> tuple[dict, list[Finding]]:
    """The record of `turns`, and its faults under the names that the fields had."""
    words = {"role": ".from", "content": ".value"}
    findings = []
    for fault in check_record({"messages": turns}, line, "messages"):
        match = re.fullmatch(r"messages\[(\d+)\](?:\.(role|content))?", fault.field)
        place = named(int(match[1])) if match else fault.field
        place += words.get(match[2], "") if match and place.startswith("conversations") else ""
        findings.append(Finding(line, place, fault.problem, fault.remedy))
    return {"messages": turns}, findings
