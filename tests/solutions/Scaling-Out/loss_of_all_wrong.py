def loss_of_all(means: list[float], tokens: list[int]) -> float:
    return sum(means) / len(means)  # a process with few tokens counts as much as one with many
