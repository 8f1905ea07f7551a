def bytes_per_token(sizes: list[int], tokens: list[int]) -> float:
    return sum(size / n for size, n in zip(sizes, tokens, strict=True)) / len(sizes)
