def noise_bound(alpha: float, tokens: int, hidden: int) -> float:
    return alpha / (tokens * hidden) ** 0.5
