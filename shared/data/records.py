"""A reader's own data set: JSONL or a name on the Hub in, training and held-out examples for SFTTrainer out.

Three formats, one in a data set, told apart by the first record's fields; other fields are dropped:

    prompt-completion   {"prompt": "...", "completion": "..."}
    messages            {"messages": [{"role": "system" | "user" | "assistant", "content": "..."}, ...]}
    text                {"text": "..."}

Pairs for preference tuning (shared/data/pairs.py) are read and checked too, but are no examples for SFTTrainer.
"""

import hashlib
import json
import os
import random
import re
from dataclasses import dataclass
from pathlib import Path

from shared.data.faults import FIELDS, check_fields, check_record, format_of, raise_first, read_jsonl
from shared.data.pairs import PAIR_FIELDS
from shared.errors import DataError


@dataclass(frozen=True)
class Examples:
    """Examples as `to_examples` makes them, and what a receipt says of where they came from."""

    train: list[dict]
    heldout: list[dict]
    format: str
    source: str
    sha256: str


def record_format(records: list[dict], source: str = "the data set") -> str:
    """The first record's format. Raises DataError where there is no record, or one that does not have that format."""
    if not records:
        raise DataError(f"{source} is empty: it needs a record.")
    name = format_of(records[0])
    findings = [finding for number, record in enumerate(records, 1) for finding in check_record(record, number, name)]
    raise_first(findings, source, "record")
    return name


def to_examples(records: list[dict]) -> list[dict]:
    """The records as SFTTrainer takes them; raises DataError as `record_format` does.

    prompt-completion and text keep their fields. messages becomes `prompt`, the turns up to the last user's, and
    `completion`, a list of the assistant's last turn, so that only that answer is trained. Pairs stay prompt, chosen, rejected.
    """
    name = record_format(records)
    if name != "messages":
        return [{field: record[field] for field in FIELDS.get(name, PAIR_FIELDS)} for record in records]
    turns = [[{"role": turn["role"], "content": turn["content"]} for turn in record["messages"]] for record in records]
    return [{"prompt": turn[:-1], "completion": turn[-1:]} for turn in turns]


def split_examples(examples: list[dict], seed: int, source: str) -> tuple[list[dict], list[dict]]:
    """Training and held-out examples: a tenth held out, 1 to 400, and equal examples all on one side.

    Raises DataError where fewer than 20 examples are different from each other.
    """
    groups: dict[str, list[dict]] = {}
    for example in examples:
        groups.setdefault(json.dumps(example, sort_keys=True), []).append(example)
    if len(groups) < 20:
        counts = f"{len(examples)} records, {len(groups)} of them different"
        raise DataError(f"{source} has {counts}: add some, 20 different ones are needed to hold a tenth out.")
    room = max(min(400, round(0.1 * len(examples))), min(map(len, groups.values())))  # for the rarest at least
    heldout = []
    for key in random.Random(seed).sample(list(groups), len(groups)):
        if len(heldout) + len(groups[key]) <= room:
            heldout += groups.pop(key)
    return [example for group in groups.values() for example in group], heldout


def load_examples(source: str | None, default_train: Path, default_heldout: Path, seed: int) -> Examples:
    """The examples of `source`: a JSONL file or a Hub name, OWNER/NAME or OWNER/NAME@COMMIT; None: the two files.

    A file or Hub data set (its `train` split) is divided by `split_examples` with `seed`. The SHA-256 is of the
    file's bytes, of those of both files one after the other, or of the Hub's records as sorted, compact JSON lines.
    Raises DataError where the source cannot be had, or is not what `read_jsonl` or `split_examples` takes.
    """
    looks_local = r"\\|^[./~]|/.*/|\.(jsonl?|csv|txt|parquet)$"
    path = os.path.expanduser(source or default_train)
    if not source or os.path.exists(path) or re.search(looks_local, source, re.IGNORECASE):
        files = [Path(path)] if source else [default_train, default_heldout]
        parts, content = [read_jsonl(file) for file in files], [file.read_bytes() for file in files]
        label = source or " and ".join(file.name for file in files)
    else:
        records, label = _load_hub(source)
        lines = (json.dumps(record, sort_keys=True, separators=(",", ":"), default=str) + "\n" for record in records)
        parts, content = [records], [line.encode() for line in lines]
    name = record_format([record for part in parts for record in part], label)
    if name == "preference":
        remedy = "tune on the chosen ones, renamed to 'completion', or use 03-Instruction-Tuning/Preference-Tuning"
        raise DataError(f"{label} holds pairs of answers, and one answer to each prompt is wanted: {remedy}.")
    train, *rest = (to_examples(part) for part in parts)
    train, heldout = (train, *rest) if rest else split_examples(train, seed, label)
    return Examples(train, heldout, name, label, hashlib.sha256(b"".join(content)).hexdigest())


def _load_hub(source: str) -> tuple[list[dict], str]:
    """The `train` split's records, with the fields of their format alone, and the data set's name and commit."""
    import datasets  # takes seconds, and only this function needs it
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    name, _, wanted = source.partition("@")
    if name != source and not re.fullmatch("[0-9a-f]{40}", wanted):
        raise DataError(f"{source} names no commit: after the @ write all its 40 hexadecimal digits.")
    remedy = "name a JSONL file instead, as load_dataset(...).to_json('my.jsonl') writes it"
    try:
        info = HfApi().dataset_info(name, revision=wanted or None, timeout=5)
        name, commit = info.id, info.sha  # the Hub gives an old name without an owner its new one
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        problem = "is neither a file here nor a data set on the Hub that you may read"
        raise DataError(f"{source} {problem}: check the name, or {remedy}.") from error
    except Exception:  # no network, a proxy, offline mode: the cache may have it, and datasets would retry for 20 s
        commit = None
    if "/" not in name:  # load_dataset("json") would read whatever JSON lies in this folder
        raise DataError(f"{source} is neither a file here nor a data set on the Hub: write OWNER/NAME, or {remedy}.")
    offline = datasets.config.HF_HUB_OFFLINE
    try:
        datasets.config.HF_HUB_OFFLINE = offline or not commit
        dataset = datasets.load_dataset(name, revision=commit, split="train")
        # Offline, datasets takes the newest copy in the cache, whatever revision it was asked for.
        commit = commit or Path(dataset.cache_files[0]["filename"]).parent.name
    except Exception as error:  # each format, and each part of the network, has its own
        failed = f"did not load ({' '.join(str(error).split())[:200]})"
        problem = failed if commit else "is not in the cache, and the Hub does not answer"
        raise DataError(f"{source} {problem}: {remedy}.") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    if wanted not in ("", commit):
        raise DataError(f"{source} is in the cache as commit {commit}, and the Hub does not answer: connect.")
    label = f"{name}@{commit}" + ("" if wanted else " (unpinned)")
    columns = dict.fromkeys(dataset.column_names)
    if not (fields := FIELDS.get(format_of(columns))):
        fault = check_fields(columns, 1, None)
        raise DataError(f"{label}: {fault.problem}; {fault.remedy} and save it with to_json('my.jsonl') for DATASET.")
    return dataset.select_columns(list(fields)).to_list(), label
