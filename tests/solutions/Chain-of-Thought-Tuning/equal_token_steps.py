import math


def equal_token_steps(steps: int, worked_tokens: float, direct_tokens: float):
    return math.ceil(steps * worked_tokens / direct_tokens)
