def jaccard(first: set, second: set) -> float:
    return len(first & second) / max(1, min(len(first), len(second)))  # the overlap coefficient: a part counts as equal
