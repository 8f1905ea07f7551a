def flops_per_token(parameters: float, recomputed: float) -> float:
    return 6 * parameters  # weight gradients counted, though the weights are frozen
