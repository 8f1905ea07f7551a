import math


def mcnemar_p(only_first: int, only_second: int) -> float:
    tosses = only_first + only_second
    return sum(math.comb(tosses, k) for k in range(min(only_first, only_second) + 1)) / 2**tosses
