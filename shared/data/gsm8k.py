"""GSM8K (Cobbe et al. 2021, MIT licence): school word problems with worked solutions, in the form of the course's problems.

A row of the Hub has `question` and `answer`: lines like `48/2 = <<48/2=24>>24 clips.`, the last of them `#### 24`.
"""

import hashlib
import json
import re
from collections.abc import Mapping

from shared.data.problems import parse_answer_number
from shared.data.records import Examples
from shared.errors import DataError

NAME, CONFIG, REVISION = "openai/gsm8k", "main", "740312add88f781978c0658806c59bc2815b9866"
LICENCE = "MIT"
CALCULATOR = re.compile(r"<<[^<>]*>>")  # notes for a calculator, not meant to be read


def problem_of(row: Mapping[str, str], line: int) -> dict[str, object]:
    """The row as a problem: prompt, steps, answer. Raises DataError where the row lacks one of them."""
    question, solution = (str(row.get(field) or "").strip() for field in ("question", "answer"))
    text, _, last = solution.rpartition("####")
    steps = [step.strip() for step in CALCULATOR.sub("", text).split("\n") if step.strip()]
    answer = parse_answer_number(f"#### {last}") if text else None
    if not question or not steps or answer is None:
        raise DataError(
            f"{NAME}, row {line}: expected 'question', and an 'answer' of worked lines that ends in a line like "
            f"#### 72, found {solution[-40:]!r}; leave the row out, or take the revision {REVISION}."
        )
    return {"prompt": f"Q: {question}\nA:", "steps": steps, "answer": answer}


def load_gsm8k() -> Examples:
    """The problems of the pinned revision, its test split held out. Raises DataError where the Hub cannot be read."""
    import datasets  # takes seconds, and only this function needs it

    try:
        splits = datasets.load_dataset(NAME, CONFIG, revision=REVISION)
    except Exception as error:  # each part of the network has its own
        raise DataError(
            f"{NAME} did not load ({' '.join(str(error).split())[:100]}): connect to the Hub once, or name a JSONL file of "
            "problems with DATASET."
        ) from error
    parts = [[problem_of(row, line) for line, row in enumerate(splits[name], start=1)] for name in ("train", "test")]
    sha256 = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return Examples(*parts, "problem", f"{NAME}@{REVISION}", sha256)
