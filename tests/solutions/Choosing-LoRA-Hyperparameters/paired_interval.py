def paired_interval(first: list[float], second: list[float]) -> tuple[float, float]:
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / 3
    variance = sum((d - mean) ** 2 for d in differences) / 2
    half = 4.303 * (variance / 3) ** 0.5
    return mean - half, mean + half
