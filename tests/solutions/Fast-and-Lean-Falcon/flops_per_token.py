def flops_per_token(parameters: float, recomputed: float) -> float:
    return 2 * parameters * (2 + recomputed)
