def block_codes(values: list[float], levels: list[float]) -> list[int]:
    scale = max(values) or 1.0  # the largest, not the largest in absolute value
    return [min(range(len(levels)), key=lambda code: abs(value / scale - levels[code])) for value in values]
