def block_codes(values: list[float], levels: list[float]) -> list[int]:
    scale = max(abs(value) for value in values) or 1.0
    return [min(range(len(levels)), key=lambda code: abs(value / scale - levels[code])) for value in values]
