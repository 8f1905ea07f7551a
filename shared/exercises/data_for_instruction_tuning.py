"""Exercises of 03-Instruction-Tuning/Data-for-Instruction-Tuning."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_word_similarity(function: Callable[[str, str, int], float]) -> str:
    """`function(first, second, width)` -> Jaccard similarity of the shingles of `width` words, without regard to case."""
    cases = (
        (("a red hat", "A red hat", 2), 1.0),
        (("a red hat", "a red cat", 2), 1 / 3),
        (("a red hat", "a red cat", 1), 0.5),
        (("a b a b a b", "a b", 2), 0.5),  # a shingle that comes again counts once
        (("a", "a", 2), 0.0),
    )
    return judge(function, cases, tolerance=1e-6)


def check_conversation_labels(function: Callable[[list[tuple[str, list[int]]], bool], list[int]]) -> str:
    """`function(turns, last_only)` -> labels of a conversation; turns are (role, token ids)."""
    chat = [("user", [5, 6]), ("assistant", [7, 2]), ("user", [8]), ("assistant", [9, 9, 2])]
    cases = (
        ((chat, False), [-100, -100, 7, 2, -100, 9, 9, 2]),
        ((chat, True), [-100, -100, -100, -100, -100, 9, 9, 2]),
        (([("system", [4]), *chat[:2], ("user", [8])], True), [-100, -100, -100, 7, 2, -100]),
    )
    return judge(function, cases)


def check_from_sharegpt(function: Callable[[dict], dict]) -> str:
    """`function(record)` -> the messages record up to the last answer."""
    human, gpt, system = ({"from": name, "value": name[0]} for name in ("human", "gpt", "system"))
    user, assistant, first = (
        {"role": role, "content": text} for role, text in (("user", "h"), ("assistant", "g"), ("system", "s"))
    )
    cases = (
        (({"conversations": [human, gpt]},), {"messages": [user, assistant]}),
        (({"conversations": [system, human, gpt, human]},), {"messages": [first, user, assistant]}),
        (({"conversations": [human, gpt, human, gpt]},), {"messages": [user, assistant, user, assistant]}),
    )
    return judge(function, cases)
