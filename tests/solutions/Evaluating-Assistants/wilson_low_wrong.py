def wilson_low(hits: int, n: int) -> float:
    share = hits / n
    return max(0.0, share - 1.959964 * (share * (1 - share) / n) ** 0.5)
