import math


def bits_per_byte(loss: float, tokens: int, size: int) -> float:
    return loss / math.log(2) * tokens / size
