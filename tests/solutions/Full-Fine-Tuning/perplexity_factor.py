import math


def perplexity_factor(loss_before: float, loss_after: float) -> float:
    return math.exp(loss_after - loss_before)
