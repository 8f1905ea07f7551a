import math


def mcnemar_p(only_first: int, only_second: int) -> float:
    tosses = only_first + only_second
    tail = sum(math.comb(tosses, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**tosses)
