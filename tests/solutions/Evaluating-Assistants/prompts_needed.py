import math


def prompts_needed(first: float, second: float) -> int:
    spread = first * (1 - first) + second * (1 - second)
    return math.ceil((1.959964 + 0.841621) ** 2 * spread / (first - second) ** 2)
