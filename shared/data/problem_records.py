"""Reading problems with worked solutions, the course's (shared/data/problems.py) or a reader's own.

A line of a file: {"prompt": "Q: ...", "steps": ["...", ...], "answer": 85}; other fields are kept.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

from shared.data.faults import Finding, raise_first, scan_jsonl
from shared.data.records import Examples, split_examples


def problem_faults(record: object, line: int) -> Iterator[Finding]:
    """What keeps `record` from being a problem with its solution."""
    if not isinstance(record, dict):
        yield Finding(
            line, "", "it is not an object", 'write a record like {"prompt": ..., "steps": [...], "answer": 85}'
        )
        return
    prompt, steps, answer = (record.get(field) for field in ("prompt", "steps", "answer"))
    if not isinstance(prompt, str) or not prompt.strip():
        yield Finding(line, "prompt", "there is no text", "write the problem as 'prompt'")
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) and step.strip() for step in steps):
        yield Finding(
            line, "steps", "it is no list of sentences", "write the solution as a list, one text for each step"
        )
    is_number = isinstance(answer, int) or (isinstance(answer, float) and math.isfinite(answer))
    if isinstance(answer, bool) or not is_number:
        yield Finding(line, "answer", "it is no number", "write the answer as a number, without quotes or a unit")


def read_problems(path: str | Path) -> list[dict]:
    """The problems of a JSONL file, unchanged. Raises DataError with line, field and remedy of the first fault."""
    records, findings = [], []
    for line, record, faults in scan_jsonl(path):
        records.append(record)
        findings += faults if record is None else problem_faults(record, line)
    raise_first(findings, path, "line")
    return records


def load_problems(source: str | None, default_train: Path, default_heldout: Path, seed: int) -> Examples:
    """The problems of the file `source`, a tenth of them held out; None: those of the two files.

    The records stay as they are: shared.data.problems.worked and its like make examples of them. Raises DataError where
    a file cannot be read, or has too few different problems to hold some out.
    """
    files = [Path(source)] if source else [default_train, default_heldout]
    parts, label = [read_problems(file) for file in files], source or " and ".join(file.name for file in files)
    train, heldout = split_examples(parts[0], seed, label) if source else parts
    sha256 = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return Examples(train, heldout, "problem", label, sha256)
