"""What can be wrong with a training record, found one line at a time: the line, the field, and the remedy."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from json import JSONDecodeError
from pathlib import Path

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
    """The first of the three formats whose fields are all in `record`, None if there is none."""
    names = set(record) if isinstance(record, dict) else set()
    return next((name for name, fields in FIELDS.items() if names.issuperset(fields)), None)


def check_record(record: object, line: int, expected: str | None = None) -> Iterator[Finding]:
    """What is wrong with one record, which must have the format `expected` (None: any of the three)."""
    name = expected or format_of(record)
    if not isinstance(record, dict):
        yield Finding(line, "", f"{_show(record)} is not an object", 'write a record like {"prompt": ...}')
    elif not name or not record.keys() >= set(FIELDS[name]):
        yield check_fields(record, line, name)
    elif name == "messages":
        yield from _check_messages(record["messages"], line)
    else:
        for field in FIELDS[name]:
            yield from _check_text(record[field], line, field)


def check_fields(record: dict, line: int, expected: str | None) -> Finding:
    if other := format_of(record):
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
        alike = [repr(name) for name in names if name not in fields and _meaning(name) == field]
        steps.append(alike and f"{'join' if alike[1:] else 'rename'} {' and '.join(alike)} to {field!r}")
    return " and ".join(steps) if all(steps) else ""


def _meaning(name: object) -> str:
    close = get_close_matches(str(name).strip().lower(), MEANINGS, n=1, cutoff=0.8)
    return MEANINGS[close[0]] if close else ""


def _show(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _check_text(value: object, line: int, field: str) -> Iterator[Finding]:
    if not isinstance(value, str):
        yield Finding(line, field, f"{_show(value)} is not text", "write text in double quotes")
    elif not value.strip():
        yield Finding(line, field, "it is empty", "fill it in or remove the record")
    elif re.search("[\ud800-\udfff]", value):
        yield Finding(line, field, "it holds half a surrogate pair (\\ud800 to \\udfff)", "remove that half")


def _check_messages(turns: object, line: int) -> Iterator[Finding]:
    shape = '{"role": ..., "content": ...}'
    if not isinstance(turns, list) or not turns:
        yield Finding(line, "messages", f"{_show(turns)} is not a list of turns", f"write [{shape}, ...]")
        return
    for index, turn in enumerate(turns):
        place = f"messages[{index}]"
        if not isinstance(turn, dict) or not turn.keys() >= {"role", "content"}:
            yield Finding(line, place, f"{_show(turn)} lacks role or content", f"write {shape}, not from and value")
            return
        if turn["role"] not in ROLES:
            remedy = "write system, user (for human) or assistant (for gpt, bot, model)"
            yield Finding(line, f"{place}.role", f"{_show(turn['role'])} is not a role", remedy)
            return
        yield from _check_text(turn["content"], line, f"{place}.content")
    roles = ["the start", *(turn["role"] for turn in turns), "the end"]
    for index, (before, role) in enumerate(pairwise(roles)):
        if role not in NEXT[before]:
            remedy = "after at most one system turn let user and assistant alternate, assistant last"
            place = f"messages[{min(index, len(turns) - 1)}].role"
            yield Finding(line, place, f"{role} comes after {before}", remedy)
            return


def scan_jsonl(
    path: str | Path, look_at: Callable[[bytes, int], None] | None = None, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[int, object, list[Finding]]]:
    """Number, record (None if the line is no JSON) and faults of each line that is not blank, held one at a time.

    `look_at` gets the bytes and number of each line, `progress` the bytes read. Raises DataError where the file cannot
    be read or is no JSONL.
    """
    path, expected, start = Path(path), None, True
    table = path.suffix.lower() in READERS.keys() - {".json"}
    try:
        with open(path, "rb") as file:
            for line, raw in _lines(file):
                if progress:
                    progress(len(raw))
                if not raw.strip():
                    continue
                if start:
                    _refuse_other_files(path, raw, table)
                record, start = None, False
                if look_at:
                    look_at(raw, line)
                try:
                    if len(raw) > LONGEST_LINE:
                        raise ValueError(f"the line is longer than {LONGEST_LINE / 2**20:.0f} MiB")
                    record = json.loads(raw.decode("utf-8-sig").rstrip())
                    findings = list(check_record(record, line, expected))
                except UnicodeDecodeError as error:
                    findings = [Finding(line, "", f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8")]
                except (ValueError, RecursionError) as error:  # no JSON, an endless number, brackets too deep
                    what = f"at column {error.colno}: {error.msg}" if isinstance(error, JSONDecodeError) else error
                    findings = [Finding(line, "", f"broken JSON ({what})", "write one JSON object on each line")]
                expected = expected or format_of(record)
                yield line, record, findings
    except OSError as error:
        names = [file.name for file in (path if path.is_dir() else path.parent).glob("*.jsonl")]
        near = (get_close_matches(path.name, names) or names)[:1] or [f"one seen from {Path.cwd()}"]
        raise DataError(f"{path} cannot be read ({error.strerror}): name a JSONL file, like {near[0]}.") from error


def _lines(file) -> Iterator[tuple[int, bytes]]:
    """Numbered lines; of one that is too long only the beginning is held."""
    line = 0
    while raw := file.readline(LONGEST_LINE + 1):
        line += 1
        yield line, raw
        while len(raw) > LONGEST_LINE and not raw.endswith(b"\n"):
            raw = file.readline(LONGEST_LINE + 1)
            if not raw:
                return


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
    if not scanned:
        raise DataError(f"{path} is empty: write one JSON object on each line.")
    return [record for _, record, _ in scanned]
