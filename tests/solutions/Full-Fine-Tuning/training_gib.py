def training_gib(parameters: int, trained: int, weight: float, gradient: float, state: float) -> float:
    return (parameters * weight + trained * (gradient + state)) / 2**30
