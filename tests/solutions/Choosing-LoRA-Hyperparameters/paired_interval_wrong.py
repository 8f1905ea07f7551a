def paired_interval(first: list[float], second: list[float]) -> tuple[float, float]:
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / 3
    variance = sum((d - mean) ** 2 for d in differences) / 2
    half = 1.96 * (variance / 3) ** 0.5  # right for many seeds, not for three
    return mean - half, mean + half
