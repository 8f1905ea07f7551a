import math


def dpo_loss(chosen: float, rejected: float, reference_chosen: float, reference_rejected: float, beta: float) -> float:
    margin = beta * (chosen - rejected)  # without the reference
    return math.log1p(math.exp(-margin))
