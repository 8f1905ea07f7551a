def training_gib(parameters: int, trained: int, weight: float, gradient: float, state: float) -> float:
    return parameters * (weight + gradient + state) / 2**30  # frozen parameters have no gradient and no state
