"""The files of the course's tasks, and their manifest: `python -m shared.data make` writes them, the same each time."""

import hashlib
import json
import random
from pathlib import Path
from types import ModuleType

from shared.data import chats, orders, preferences, problems, reports, tickets
from shared.data.orders import DATA_DIR

TASKS = (reports, chats, tickets, preferences, problems)


def make_records(task: ModuleType, world: object, count: int, seed: int) -> list[dict[str, object]]:
    """`count` records of a `task` of TASKS with different prompts, the same for the same seed."""
    rng = random.Random(seed)
    records: dict[str, dict[str, object]] = {}
    while len(records) < count:
        record, _ = task.make_example(world, rng)
        records.setdefault(record["prompt"], record)
    return list(records.values())


def write_files(folder: Path = DATA_DIR) -> list[Path]:
    """Write the files of all tasks, and the manifest of their licence, origin and hashes, into `folder`."""
    made = [(name, orders.make_examples(*made_of), made_of) for name, made_of in orders.FILES.items()]
    for task in TASKS:
        made += [(name, make_records(task, *made_of), made_of) for name, made_of in task.FILES.items()]
    hashes = {}
    for name, records, (_, count, seed) in made:
        content = "".join(json.dumps(record) + "\n" for record in records).encode()
        (folder / name).write_bytes(content)
        hashes[name] = {"examples": count, "seed": seed, "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "licence": "Apache-2.0",
        "origin": "Made by shared/data/files.py from phrasings and word lists written for this course; no data of others.",
        "files": hashes,
    }
    (folder / "MANIFEST.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return [folder / name for name in (*hashes, "MANIFEST.json")]
