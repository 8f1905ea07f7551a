"""Look through a data set before training: `python -m shared.data check FILE [--model NAME] [--max-length N]`.

One finding a line, with place and remedy, then a summary. The file is read a line at a time: what is held for each record
are four numbers, 24 bytes, so that a gigabyte takes little memory. Exit status 1 where anything was found.
"""

import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import TemplateError
from tqdm import tqdm

from shared.data.faults import Finding, format_of, line_findings, scan_jsonl, text_findings
from shared.data.pairs import is_pair, pair_digests, sides
from shared.data.records import to_examples
from shared.data.tokens import example_texts, token_counter

if TYPE_CHECKING:  # it takes a second, and a check without a tokenizer does not need it
    from transformers import PreTrainedTokenizerBase

SHOWN = 5  # findings of one kind that are printed; the others are counted
BATCH, BATCH_BYTES = 1000, 2**21  # records that are tokenised together, fewer where they are long
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"[^"]*'[^"]*\"""")  # what repr wrote


@dataclass
class Summary:
    """What was found, and the figures of a data set; lengths are in tokens, shares between 0 and 1."""

    records: int = 0
    format: str | None = None
    kinds: Counter = field(default_factory=Counter)  # remedy -> findings
    lengths: array = field(default_factory=lambda: array("I"))
    trained: int = 0
    truncated: int = 0
    duplicates: int = 0
    contradictions: int = 0
    overlap: int | None = None

    def __str__(self) -> str:
        lines = [f"records      {self.records:,} ({self.format or 'no known format'})"]
        if self.lengths:
            lengths = np.asarray(self.lengths)
            figures = (f"{length:,.0f}" for length in np.percentile(lengths, [0, 50, 95, 100]))
            lines.append("tokens       {} at least, median {}, 95 % up to {}, {} at most".format(*figures))
            lines.append(f"truncated    {self.truncated / len(lengths):.1%}")
            lines.append(f"trained      {self.trained / max(1, int(lengths.sum())):.1%} of the tokens")
        lines.append(f"duplicates   {self.duplicates:,}; contradictions {self.contradictions:,}")
        if self.overlap is not None:
            lines.append(f"overlap      {self.overlap:,} records are in the other file, too")
        lines.append(f"findings     {sum(self.kinds.values()):,}")
        return "\n".join(lines)


def digests(example: dict) -> tuple[int, int]:
    """64 bits that tell an example apart, and 64 for its prompt (a plain text is its own), the same in one process.

    Python's hash of text is SipHash with a key that differs from process to process: among ten million different
    examples two are alike with a chance of 3 in a million, and no file can be made so that they are.
    """
    if is_pair(example):
        return pair_digests(example)
    prompt, completion = example.get("prompt", example.get("text")), example.get("completion")
    if isinstance(prompt, list):
        prompt, completion = (tuple((turn["role"], turn["content"]) for turn in part) for part in (prompt, completion))
    return hash((prompt, completion)), hash(prompt)


def check_file(
    path: Path,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    max_length: int = 1024,
    against: Path | None = None,
    tell=print,
) -> Summary:
    """Check `path` line by line; `tell` gets each finding as text. Without a tokenizer nothing is said of tokens.

    Raises DataError where a file cannot be read or is no JSONL.
    """
    summary, wholes, prompts, numbers = Summary(), array("q"), array("q"), array("I")
    special = tokenizer.all_special_tokens if tokenizer else []
    count = tokenizer and token_counter(tokenizer)
    waiting: list[tuple[int, dict]] = []
    waiting_bytes = 0

    def report(findings: Iterable[Finding]) -> None:
        for finding in findings:
            kind = QUOTED.sub("", finding.remedy)
            summary.kinds[kind] += 1
            if summary.kinds[kind] <= SHOWN:
                place = f"line {finding.line}" + (f", {finding.field}" if finding.field else "")
                with bar.external_write_mode():
                    tell(f"{place}: {finding.problem}; {finding.remedy}")

    def look_at_bytes(raw: bytes, line: int) -> None:
        nonlocal waiting_bytes
        waiting_bytes += len(raw)
        report(line_findings(raw, line))

    size = sum(file.stat().st_size for file in (path, against) if file and file.is_file())
    with tqdm(total=size, unit="B", unit_scale=True, mininterval=1, file=sys.stderr) as bar:
        for line, record, findings in scan_jsonl(path, look_at_bytes, bar.update):
            summary.records += 1
            report(findings)
            if record is None or findings:
                continue
            summary.format = summary.format or format_of(record)
            example = to_examples([record])[0]
            report(text_findings(example, line, special))
            for held, number in zip((wholes, prompts, numbers), (*digests(example), line), strict=True):
                held.append(number)
            if tokenizer:
                waiting += [(line, side) for side in sides(example)]
                if len(waiting) >= BATCH or waiting_bytes > BATCH_BYTES:
                    report(token_findings(waiting, tokenizer, count, max_length, summary))
                    waiting, waiting_bytes = [], 0
        if waiting:
            report(token_findings(waiting, tokenizer, count, max_length, summary))
        report(repetitions(np.asarray(wholes), np.asarray(prompts), numbers, summary))
        if against is not None:
            scanned = scan_jsonl(against, progress=bar.update)
            others = (digests(to_examples([record])[0])[0] for _, record, faults in scanned if not faults)
            places = _places_of(np.fromiter(others, "q"), np.asarray(wholes))
            summary.overlap = len(places)
            problem, remedy = f"the record is in {against.name}, too", "keep it in one of the two files"
            report(Finding(numbers[place], "", problem, remedy) for place in places)
    for kind, number in summary.kinds.items():
        if number > SHOWN:
            tell(f"... and {number - SHOWN:,} more to which applies: {kind}")
    return summary


def token_findings(
    batch: list[tuple[int, dict]], tokenizer: "PreTrainedTokenizerBase", count, max_length: int, summary: Summary
) -> Iterator[Finding]:
    """Lengths of the examples in `batch`, added to `summary`; what is cut, and where no token is left to train."""
    lines, texts = [], []
    for line, example in batch:
        try:
            texts.append(example_texts(tokenizer, example))
            lines.append(line)
        except TemplateError as error:
            problem = f"the model's chat template refuses it ({error})"
            yield Finding(line, "messages", problem, "change its turns or name another model")
    for line, (prompt, _), (start, length) in zip(lines, texts, count(texts), strict=True):
        start, length = start if prompt else 0, length + 1  # and the end token
        summary.lengths.append(length)
        summary.trained += max(0, min(length, max_length) - start)
        if length <= max_length:
            continue
        summary.truncated += 1
        if start >= max_length:
            problem = f"the prompt alone has {start:,} tokens of {max_length:,}: no token is left to train"
            yield Finding(line, "prompt", problem, "shorten the prompt or raise --max-length")
        else:
            problem = f"{length:,} tokens are cut to {max_length:,}, and the end is lost"
            yield Finding(line, "", problem, "shorten the example or raise --max-length")


def repetitions(wholes: np.ndarray, prompts: np.ndarray, numbers: array, summary: Summary) -> Iterator[Finding]:
    """Records that occur again, and equal prompts with another answer; each is told once, at its later line."""
    again, first = _repeated(wholes)
    summary.duplicates = len(again)
    for place, earlier in zip(again, first, strict=True):
        problem = f"the record stands in line {numbers[earlier]} already"
        yield Finding(numbers[place], "", problem, "keep one of equal records")
    is_new = np.ones(len(wholes), bool)
    is_new[again] = False
    again, first = _repeated(prompts)
    differ = is_new[again] & (wholes[again] != wholes[first])
    summary.contradictions = int(differ.sum())
    for place, earlier in zip(again[differ], first[differ], strict=True):
        if summary.format == "preference":
            problem = f"line {numbers[earlier]} prefers the other of the same two answers"
            yield Finding(numbers[place], "chosen", problem, "keep one of the two verdicts")
            continue
        problem = f"line {numbers[earlier]} answers the same prompt otherwise"
        yield Finding(numbers[place], "completion", problem, "keep one answer, or say in the prompt what differs")


def _repeated(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places where a value stands that stood before, and for each the first place with that value."""
    ranked = np.sort(values)
    places = _places_of(ranked[1:][ranked[1:] == ranked[:-1]], values)
    _, first, inverse = np.unique(values[places], return_index=True, return_inverse=True)
    later = first[inverse] != np.arange(len(places))
    return places[later], places[first[inverse]][later]


def _places_of(wanted: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The places of `values` where one of `wanted` stands; numpy's isin takes several times the memory."""
    ranked = np.sort(wanted)
    return np.flatnonzero(np.searchsorted(ranked, values) < np.searchsorted(ranked, values, "right"))
