import math


def dpo_loss(chosen: float, rejected: float, reference_chosen: float, reference_rejected: float, beta: float) -> float:
    margin = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
    return math.log1p(math.exp(-margin))
