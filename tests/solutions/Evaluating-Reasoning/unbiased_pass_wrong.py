def unbiased_pass(n: int, right: int, k: int) -> float:
    return 1 - (1 - right / n) ** k
