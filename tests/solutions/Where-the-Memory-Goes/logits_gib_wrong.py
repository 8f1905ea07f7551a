def logits_gib(rows: int, length: int, vocabulary: int, copies: int) -> float:
    return 4 * copies * rows * length * vocabulary / 1e9  # GB
