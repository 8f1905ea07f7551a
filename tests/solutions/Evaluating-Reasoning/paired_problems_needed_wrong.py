import math


def paired_problems_needed(disagree: float, difference: float) -> int:
    return math.ceil((1.959964 + 0.841621) ** 2 * 2 * 0.25 / difference**2)
