def update_scale(alpha: float, rank: int, rslora: bool) -> float:
    return alpha / (rank**0.5 if rslora else rank)
