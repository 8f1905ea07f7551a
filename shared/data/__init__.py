"""The course's data sets, their generators, and the reading of your own."""

from shared.data.faults import read_jsonl
from shared.data.orders import DATA_DIR, INSTRUCTION
from shared.data.records import Examples, load_examples

ORDERS_TRAIN = DATA_DIR / "orders-train.jsonl"
ORDERS_HELDOUT = DATA_DIR / "orders-heldout.jsonl"
# The held-out names and values in the training phrasings: half way between the two.
ORDERS_SEEN = DATA_DIR / "orders-seen.jsonl"

__all__ = [
    "DATA_DIR",
    "ORDERS_HELDOUT",
    "ORDERS_SEEN",
    "ORDERS_TRAIN",
    "Examples",
    "few_shot_prefix",
    "load_examples",
    "read_jsonl",
]


def few_shot_prefix(examples: Examples) -> str:
    """What an untuned model needs for a fair test: an instruction (for the demo task) and the longest of 50 examples.

    "" where prompts are not plain strings, or there are none.
    """
    if examples.format != "prompt-completion":
        return ""
    shown = max(examples.train[:50], key=lambda example: len(example["completion"]))
    instruction = f"{INSTRUCTION}\n\n" if examples.source.startswith("orders-train") else ""
    return f"{instruction}{shown['prompt']}{shown['completion']}\n\n"
