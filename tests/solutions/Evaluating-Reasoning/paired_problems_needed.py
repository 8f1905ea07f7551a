import math


def paired_problems_needed(disagree: float, difference: float) -> int:
    root = 1.959964 * math.sqrt(disagree) + 0.841621 * math.sqrt(disagree - difference**2)
    return math.ceil((root / difference) ** 2)
