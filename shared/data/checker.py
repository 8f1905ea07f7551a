"""Look through a data set before training: `python -m shared.data check FILE [--model NAME] [--max-length N]`.

One finding a line, with place and remedy, then a summary. The file is read a line at a time: what is held for each record
are three numbers, so that a gigabyte takes little memory. Exit status 1 where anything was found.
"""

import json
import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from shared.data.faults import Finding, format_of, scan_jsonl
from shared.data.records import to_examples
from shared.evaluation import example_texts

SHOWN = 5  # findings of one kind that are printed; the others are counted
BATCH = 1000  # records that are tokenised together
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


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
            low, middle, high, top = np.percentile(np.array(self.lengths), [0, 50, 95, 100])
            lines.append(
                f"tokens       {low:,.0f} at least, median {middle:,.0f}, 95 % up to {high:,.0f}, {top:,.0f} at most"
            )
            lines.append(f"truncated    {self.truncated / len(self.lengths):.1%}")
            lines.append(f"trained      {self.trained / max(1, sum(self.lengths)):.1%} of the tokens")
        lines.append(f"duplicates   {self.duplicates:,}; contradictions {self.contradictions:,}")
        if self.overlap is not None:
            lines.append(f"overlap      {self.overlap:,} records are in the other file, too")
        lines.append(f"findings     {sum(self.kinds.values()):,}")
        return "\n".join(lines)


def text_findings(example: dict, line: int, special: Iterable[str]) -> Iterator[Finding]:
    """What training would not refuse, but should not be there: control characters and special tokens inside texts."""
    for name, text in _texts(example):
        if found := CONTROL.search(text):
            yield Finding(line, name, f"it holds the control character {found[0]!r}", "remove control characters")
        for token in special:
            if token in text:
                yield Finding(
                    line, name, f"it holds the special token {token}", "remove special tokens: training adds them"
                )


def _texts(example: dict) -> Iterator[tuple[str, str]]:
    for name, value in example.items():
        for index, part in enumerate(value if isinstance(value, list) else [value]):
            yield (f"{name}[{index}].content", part["content"]) if isinstance(part, dict) else (name, part)


def line_findings(raw: bytes, line: int) -> Iterator[Finding]:
    """What the bytes of a line show and its JSON does not."""
    if line == 1 and raw.startswith(b"\xef\xbb\xbf"):
        yield Finding(line, "", "the file begins with a byte order mark", "save it as UTF-8 without one")
    if raw.endswith(b"\r\n"):
        yield Finding(line, "", "the line ends as on Windows (CRLF)", "save the file with LF line ends")
    if re.search(rb"\\u0000|[:\[,]\s*-?(NaN|Infinity)\b", raw):
        yield Finding(line, "", "it holds NaN, Infinity or \\u0000", "leave out what is no text")
    names = re.findall(rb'"(prompt|completion|messages|text)"\s*:', raw)
    if raw.count(b"{") == 1 and len(names) > len(set(names)):
        yield Finding(line, "", "a field stands in it twice", "keep one: readers take the last")


def digest(value: object) -> int:
    """64 bits that tell records apart: among ten million different ones two are alike with a chance of 3 in a million."""
    return int.from_bytes(blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).digest(), "little")


def _prompt_of(example: dict) -> object:
    return example.get("prompt", example.get("text"))


def check_file(
    path: Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int = 1024,
    against: Path | None = None,
    tell=print,
) -> Summary:
    """Check `path` line by line; `tell` gets each finding as text. Without a tokenizer nothing is said of tokens.

    Raises DataError where the file cannot be read or is no JSONL.
    """
    summary, wholes, prompts, numbers = Summary(), array("Q"), array("Q"), array("Q")
    special = () if tokenizer is None else tuple(tokenizer.all_special_tokens)
    waiting: list[tuple[int, dict]] = []

    def report(finding: Finding) -> None:
        kind = re.sub(r"'.*?'", "", finding.remedy)
        summary.kinds[kind] += 1
        if summary.kinds[kind] <= SHOWN:
            place = f"line {finding.line}" + (f", {finding.field}" if finding.field else "")
            tell(f"{place}: {finding.problem}; {finding.remedy}")

    def measure() -> None:
        if tokenizer is not None and waiting:
            for finding in token_findings(waiting, tokenizer, max_length, summary):
                report(finding)
        waiting.clear()

    def look_at_bytes(raw: bytes, line: int) -> None:
        for finding in line_findings(raw, line):
            report(finding)

    size = path.stat().st_size if path.is_file() else None
    with tqdm(total=size, unit="B", unit_scale=True, mininterval=1, file=sys.stderr) as bar:
        for line, record, findings in scan_jsonl(path, look_at_bytes, bar.update):
            summary.records += 1
            for finding in findings:
                report(finding)
            if record is None or findings:
                continue
            summary.format = summary.format or format_of(record)
            example = to_examples([record])[0]
            for finding in text_findings(example, line, special):
                report(finding)
            wholes.append(digest(example))
            prompts.append(digest(_prompt_of(example)))
            numbers.append(line)
            waiting.append((line, example))
            if len(waiting) == BATCH:
                measure()
    measure()
    for finding in repetitions(np.array(wholes), np.array(prompts), np.array(numbers), summary):
        report(finding)
    if against is not None:
        other = np.array(
            [digest(to_examples([r])[0]) for _, r, faults in scan_jsonl(against) if r and not faults], "u8"
        )
        shared = np.isin(np.array(wholes), other)
        summary.overlap = int(shared.sum())
        for line in np.array(numbers)[shared]:
            report(Finding(int(line), "", f"the record is in {against.name}, too", "keep it in one of the two files"))
    for kind, count in summary.kinds.items():
        if count > SHOWN:
            tell(f"... and {count - SHOWN:,} more to which applies: {kind}")
    return summary


def token_findings(
    batch: list[tuple[int, dict]], tokenizer: PreTrainedTokenizerBase, max_length: int, summary: Summary
) -> Iterator[Finding]:
    """Lengths of the examples in `batch`, added to `summary`; what is cut, and where no token is left to train."""
    texts = [example_texts(tokenizer, example) for _, example in batch]
    wholes = tokenizer([whole for _, whole in texts])["input_ids"]
    prompts = tokenizer([prompt for prompt, _ in texts])["input_ids"]
    for (line, _), whole, prompt, (text, _) in zip(batch, wholes, prompts, texts, strict=True):
        length, start = len(whole) + 1, len(prompt) if text else 0  # and the end token
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


def repetitions(wholes: np.ndarray, prompts: np.ndarray, numbers: np.ndarray, summary: Summary) -> Iterator[Finding]:
    """Records that occur again, and equal prompts with another answer; each is told once, at its later line."""
    first_whole = _first_of_equals(wholes)
    for index in np.flatnonzero(first_whole != np.arange(len(wholes))):
        summary.duplicates += 1
        earlier = numbers[first_whole[index]]
        yield Finding(
            int(numbers[index]), "", f"the record stands in line {earlier} already", "keep one of equal records"
        )
    first_prompt = _first_of_equals(prompts)
    for index in np.flatnonzero(first_prompt != np.arange(len(prompts))):
        if wholes[index] != wholes[first_prompt[index]] and first_whole[index] == index:
            summary.contradictions += 1
            problem = f"line {numbers[first_prompt[index]]} answers the same prompt otherwise"
            yield Finding(
                int(numbers[index]), "completion", problem, "keep one answer, or say in the prompt what differs"
            )


def _first_of_equals(values: np.ndarray) -> np.ndarray:
    """For each place the first place with the same value."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return first[inverse] if len(values) else np.array([], int)
