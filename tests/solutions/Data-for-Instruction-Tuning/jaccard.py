def jaccard(first: set, second: set) -> float:
    return len(first & second) / max(1, len(first | second))
