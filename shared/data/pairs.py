"""Preference pairs among the record formats: {"prompt": "...", "chosen": "...", "rejected": "..."}, and what can be wrong."""

from collections.abc import Callable, Iterator

SIDES = ("chosen", "rejected")
PAIR_FIELDS = ("prompt", *SIDES)
ELSEWHERE = {"chosen": "better, preferred, winner or answer_a", "rejected": "worse, dispreferred, loser or answer_b"}


def is_pair(record: dict) -> bool:
    """True if `record` has a side of a pair, also where the other side or the prompt is missing."""
    return any(side in record for side in SIDES)


def pair_faults(record: dict, text_fault: Callable[[object], tuple[str, str] | None]) -> Iterator[tuple[str, str, str]]:
    """(field, problem, remedy) of each fault of a pair; `text_fault` says what is wrong with a text by itself."""
    missing = [field for field in PAIR_FIELDS if field not in record]
    for field in missing:
        if field == "prompt":
            remedy = "write what both sides answer as 'prompt', and only the answers as 'chosen' and 'rejected'"
            yield field, "the prompt is missing", remedy
        else:
            remedy = f"add it (it may be called {ELSEWHERE[field]} where the pair comes from) or remove the record"
            yield field, f"the {field} side is missing", remedy
    faulty = set(missing)
    for field in PAIR_FIELDS:
        if field not in missing and (fault := text_fault(record[field])):
            faulty.add(field)
            yield field, *fault
    if not faulty.intersection(SIDES) and record["chosen"].strip() == record["rejected"].strip():
        yield "rejected", "it is the same as chosen", "remove the pair: it does not say what is better"


def sides(example: dict) -> list[dict]:
    """The two examples, prompt and completion, that a pair is made of; any other example alone."""
    if not is_pair(example):
        return [example]
    return [{"prompt": example["prompt"], "completion": example[side]} for side in SIDES]


def pair_digests(pair: dict) -> tuple[int, int]:
    """Numbers that tell a pair apart, and its prompt with the two answers whatever their order."""
    answers = tuple(pair[side] for side in SIDES)
    return hash((pair["prompt"], answers)), hash((pair["prompt"], frozenset(answers)))
