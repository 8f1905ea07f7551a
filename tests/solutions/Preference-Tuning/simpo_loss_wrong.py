import math


def simpo_loss(
    chosen: float, chosen_tokens: int, rejected: float, rejected_tokens: int, beta: float, gamma: float
) -> float:
    margin = beta * (chosen - rejected) - gamma  # sums: a longer answer is less likely for its length alone
    return math.log1p(math.exp(-margin))
