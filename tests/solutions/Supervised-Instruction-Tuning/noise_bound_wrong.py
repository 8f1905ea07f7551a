def noise_bound(alpha: float, tokens: int, hidden: int) -> float:
    return alpha / hidden**0.5  # the length of the row is forgotten
