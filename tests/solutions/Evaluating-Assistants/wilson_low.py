def wilson_low(hits: int, n: int) -> float:
    z, share = 1.959964, hits / n
    centre = share + z**2 / (2 * n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return (centre - half) / (1 + z**2 / n)
