import math


def simpo_loss(
    chosen: float, chosen_tokens: int, rejected: float, rejected_tokens: int, beta: float, gamma: float
) -> float:
    margin = beta * (chosen / chosen_tokens - rejected / rejected_tokens) - gamma
    return math.log1p(math.exp(-margin))
