def surviving(weights: list[float], updates: list[float], levels: list[float]) -> int:
    def nearest(value: float) -> float:
        return min(levels, key=lambda level: abs(level - value))

    return sum(nearest(weight + update) != nearest(weight) for weight, update in zip(weights, updates, strict=True))
