"""What can be wrong with a training record, found one line at a time: the line, the field, and the remedy."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from json import JSONDecodeError
from pathlib import Path
from typing import BinaryIO

from shared.data.pairs import PAIR_FIELDS, is_pair, pair_faults
from shared.errors import DataError

FIELDS = {"prompt-completion": ("prompt", "completion"), "messages": ("messages",), "text": ("text",)}
ROLES = ("system", "user", "assistant")
NEXT = {"the start": ROLES[:2], "system": ("user",), "user": ("assistant",), "assistant": ("user", "the end")}
SYNONYMS = {
    "prompt": "instruction query question input context problem",
    "completion": "output response answer target solution",
    "messages": "conversation conversations dialog dialogue chat turns",
    "text": "content document body",
}
MEANINGS = {name: field for field, names in SYNONYMS.items() for name in (field, *names.split())}
BOM = b"\xef\xbb\xbf"  # what Windows editors put before UTF-8
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
FIELD = re.compile(rb'"(prompt|completion|messages|text|chosen|rejected)"\s*:')
LONGEST_LINE = 2**24  # bytes; a training example of 16 MiB is a fault, and would have to be held
READERS = {  # how pandas reads other files so that every value stays text
    ".csv": "read_csv({!r}, dtype=str, keep_default_na=False)",
    ".parquet": "read_parquet({!r})",
    ".txt": "DataFrame({{'text': [t for t in open({!r}, encoding='utf-8').read().split('\\n\\n') if t.strip()]}})",
    ".json": "read_json({!r}, dtype=False)",
}


@dataclass(frozen=True)
class Finding:
    """One fault: `line` counts from 1; `field` is like `completion` or `messages[2].role`, "" for the whole line."""

    line: int
    field: str
    problem: str
    remedy: str


def format_of(record: object) -> str | None:
    """The first of the three formats whose fields are all in `record`, "preference" for a pair, None if there is none."""
    names = set(record) if isinstance(record, dict) else set()
    name = next((name for name, fields in FIELDS.items() if names.issuperset(fields)), None)
    return name or ("preference" if is_pair(names) else None)


def check_record(record: object, line: int, expected: str | None = None) -> Iterator[Finding]:
    """What is wrong with one record, which must have the format `expected` (None: any)."""
    name = expected or format_of(record)
    if not isinstance(record, dict):
        yield Finding(line, "", f"{_show(record)} is not an object", 'write a record like {"prompt": ...}')
    elif name == "preference" and format_of(record) in (name, None):
        yield from (Finding(line, *fault) for fault in pair_faults(record, _text_fault))
    elif not name or not record.keys() >= set(FIELDS.get(name, PAIR_FIELDS)):
        yield check_fields(record, line, name)
    elif name == "messages":
        yield from _check_messages(record["messages"], line)
    else:
        for field in FIELDS[name]:
            if fault := _text_fault(record[field]):
                yield Finding(line, field, *fault)


def check_fields(record: dict, line: int, expected: str | None) -> Finding:
    if expected and (other := format_of(record)):
        return Finding(line, "", f"a {other} record among {expected} records", "keep one format in a data set")
    formats = [FIELDS[expected]] if expected else list(FIELDS.values())
    missing = next(field for field in formats[0] if field not in record) if expected else ""
    wanted = ", or ".join(" and ".join(map(repr, fields)) for fields in formats)
    remedy = next(filter(None, (_renaming(record, fields) for fields in formats)), "name the fields so")
    return Finding(line, missing, f"found {', '.join(map(repr, record)) or 'no field'}, expected {wanted}", remedy)


def _renaming(names: Iterable[str], fields: Iterable[str]) -> str:
    """How the missing ones of `fields` can be made of `names`, in words; "" where that is not obvious."""
    steps = []
    for field in (field for field in fields if field not in names):
        alike = [repr(name) for name in names if name not in fields and _meaning(str(name)[:50]) == field]
        steps.append(alike and f"{'join' if alike[1:] else 'rename'} {' and '.join(alike)} to {field!r}")
    return " and ".join(steps) if all(steps) else ""


@lru_cache(1000)  # it takes a millisecond, and a file can have one fault a million times
def _meaning(name: str) -> str:
    close = get_close_matches(name.strip().lower(), MEANINGS, n=1, cutoff=0.8)
    return MEANINGS[close[0]] if close else ""


def _show(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _text_fault(value: object) -> tuple[str, str] | None:
    """Problem and remedy."""
    if not isinstance(value, str):
        return f"{_show(value)} is not text", "write text in double quotes"
    if not value or value.isspace():
        return "it is empty", "fill it in or remove the record"
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        return "it holds half a surrogate pair (\\ud800 to \\udfff)", "remove that half"
    return None


def _check_messages(turns: object, line: int) -> Iterator[Finding]:
    shape = '{"role": ..., "content": ...}'
    if not isinstance(turns, list) or not turns:
        yield Finding(line, "messages", f"{_show(turns)} is not a list of turns", f"write [{shape}, ...]")
        return
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict) or "role" not in turn or "content" not in turn:
            problem, remedy = f"{_show(turn)} lacks role or content", f"write {shape}, not from and value"
            yield Finding(line, f"messages[{index}]", problem, remedy)
            return
        if turn["role"] not in ROLES:
            remedy = "write system, user (for human) or assistant (for gpt, bot, model)"
            yield Finding(line, f"messages[{index}].role", f"{_show(turn['role'])} is not a role", remedy)
            return
        if fault := _text_fault(turn["content"]):
            yield Finding(line, f"messages[{index}].content", *fault)
    roles = ["the start", *(turn["role"] for turn in turns), "the end"]
    for index, (before, role) in enumerate(pairwise(roles)):
        if role not in NEXT[before]:
            remedy = "after at most one system turn let user and assistant alternate, assistant last"
            place = f"messages[{min(index, len(turns) - 1)}].role"
            yield Finding(line, place, f"{role} comes after {before}", remedy)
            return


def line_findings(raw: bytes, line: int) -> Iterator[Finding]:
    """What the bytes of a line show and its JSON does not."""
    if line == 1 and raw.startswith(BOM):
        yield Finding(line, "", "the file begins with a byte order mark", "save it as UTF-8 without one")
    if raw.endswith(b"\r\n"):
        yield Finding(line, "", "the line ends as on Windows (CRLF)", "save the file with LF line ends")
    if rb"\u0000" in raw or ((b"NaN" in raw or b"Infinity" in raw) and _has_constant(raw)):
        yield Finding(line, "", "it holds NaN, Infinity or \\u0000", "leave out what is no text")
    if raw.count(b"{") == 1 and len(names := FIELD.findall(raw)) > len(set(names)):
        yield Finding(line, "", "a field stands in it twice", "keep one: readers take the last")


def _has_constant(raw: bytes) -> bool:
    """Whether NaN or Infinity stands in a line as a value, not as text."""
    found: list[str] = []
    try:
        json.loads(raw, parse_constant=found.append)
    except (ValueError, RecursionError):
        return False
    return bool(found)


def text_findings(example: dict, line: int, special: list[str]) -> Iterator[Finding]:
    """What training would not refuse, but should not be there: control characters and special tokens inside texts."""
    for field, value in example.items():
        for index, part in enumerate(value if isinstance(value, list) else [value]):
            name, text = (f"{field}[{index}].content", part["content"]) if isinstance(part, dict) else (field, part)
            if not text.isprintable() and (found := CONTROL.search(text)):
                yield Finding(line, name, f"it holds the control character {found[0]!r}", "remove control characters")
            for token in special:
                if token in text:
                    problem = f"it holds the special token {token}"
                    yield Finding(line, name, problem, "remove special tokens: training adds them")


def scan_jsonl(
    path: str | Path, look_at: Callable[[bytes, int], None] | None = None, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[int, object, list[Finding]]]:
    """Number, record (None if the line is no JSON) and faults of each line that is not blank, held one at a time.

    `look_at` gets the bytes and number of each line, `progress` the bytes read. Raises DataError where the file cannot
    be read, is empty or no JSONL, or is written to meanwhile.
    """
    path, expected, start = Path(path), None, True
    table = path.suffix.lower() in READERS.keys() - {".json"}
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # opening a pipe would wait for its writer
            raise DataError(f"{path} is a pipe or a device: save the records in a file, which can be read twice.")
        with open(path, "rb") as file:
            for line, raw in _lines(path, file, progress):
                if raw.isspace():
                    continue
                if start:
                    _refuse_other_files(path, raw, table)
                record, start = None, False
                if look_at:
                    look_at(raw, line)
                try:
                    if len(raw) > LONGEST_LINE:
                        raise ValueError(f"the line is longer than {LONGEST_LINE / 2**20:.0f} MiB")
                    record = json.loads(raw.decode("utf-8-sig" if raw.startswith(BOM) else "utf-8").rstrip())
                    findings = list(check_record(record, line, expected))
                except UnicodeDecodeError as error:
                    findings = [Finding(line, "", f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8")]
                except (ValueError, RecursionError) as error:  # no JSON, an endless number, brackets too deep
                    what = f"at column {error.colno}: {error.msg}" if isinstance(error, JSONDecodeError) else error
                    findings = [Finding(line, "", f"broken JSON ({what})", "write one JSON object on each line")]
                expected = expected or format_of(record)
                yield line, record, findings
    except PermissionError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): allow it, by `chmod u+r` or its owner.") from error
    except OSError as error:
        names = [file.name for file in (path if path.is_dir() else path.parent).glob("*.jsonl") if file.is_file()]
        near = (get_close_matches(path.name, names) or names)[:1] or [f"one seen from {Path.cwd()}"]
        raise DataError(f"{path} cannot be read ({error.strerror}): name a JSONL file, like {near[0]}.") from error
    if start:
        raise DataError(f"{path} is empty: write one JSON object on each line.")


def _lines(path: Path, file: BinaryIO, progress: Callable[[int], None] | None) -> Iterator[tuple[int, bytes]]:
    """Numbered lines; of one that is too long only the beginning is held. Raises DataError if the file changes."""
    before, line, read, is_new = os.fstat(file.fileno()), 0, 0, True
    while read < before.st_size and (raw := file.readline(LONGEST_LINE + 1)):
        read += len(raw)
        if progress:
            progress(len(raw))
        if is_new:
            line += 1
            yield line, raw
        is_new = raw.endswith(b"\n") or len(raw) <= LONGEST_LINE
    after = os.fstat(file.fileno())
    if not read == before.st_size == after.st_size or after.st_mtime_ns != before.st_mtime_ns:
        sizes = f"{before.st_size:,} bytes before, {after.st_size:,} now"
        raise DataError(f"{path} changed while it was read ({sizes}): start again when nothing writes to it.")


def _refuse_other_files(path: Path, raw: bytes, table: bool) -> None:
    """Raise DataError where the first line shows that the file is no JSONL in UTF-8."""
    if raw.startswith(b"\x1f\x8b"):
        raise DataError(f"{path} is compressed with gzip: unpack it first (`gunzip`), whatever its name.")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16: save it as UTF-8.")
    if table or re.match(rb"(\xef\xbb\xbf)?\s*\[", raw):
        raise DataError(f"{path} is not JSONL, one object on each line: convert it by {_conversion(path)}.")


def _conversion(path: Path) -> str:
    reader = READERS.get(path.suffix.lower(), READERS[".json"]).format(str(path))
    new = str(path.with_name(f"{path.stem}-lines.jsonl"))
    return f"`import pandas; pandas.{reader}.to_json({new!r}, orient='records', lines=True)`"


def raise_first(findings: list[Finding], source: object, unit: str) -> None:
    if findings:
        first, more = findings[0], f" (faults after this one: {len(findings) - 1})" if findings[1:] else ""
        place = f"{source}, {unit} {first.line}" + (f", field {first.field}" if first.field else "")
        raise DataError(f"{place}: {first.problem}; {first.remedy}{more}.")


def read_jsonl(path: str | Path) -> list[dict]:
    """The records of a JSONL file, unchanged and all of one format.

    Raises DataError with the line, field and remedy of the first fault and the number of those that follow.
    """
    scanned = list(scan_jsonl(path))
    raise_first([finding for _, _, findings in scanned for finding in findings], path, "line")
    return [record for _, record, _ in scanned]
