def surviving(weights: list[float], updates: list[float], levels: list[float]) -> int:
    spacing = (max(levels) - min(levels)) / (len(levels) - 1)
    return sum(abs(update) > spacing / 2 for update in updates)
