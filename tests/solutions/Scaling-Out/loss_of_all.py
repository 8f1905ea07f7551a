def loss_of_all(means: list[float], tokens: list[int]) -> float:
    return sum(mean * count for mean, count in zip(means, tokens, strict=True)) / sum(tokens)
