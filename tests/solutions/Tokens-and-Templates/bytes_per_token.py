def bytes_per_token(sizes: list[int], tokens: list[int]) -> float:
    return sum(sizes) / sum(tokens)
