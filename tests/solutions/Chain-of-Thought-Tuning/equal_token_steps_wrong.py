def equal_token_steps(steps: int, worked_tokens: float, direct_tokens: float):
    return int(steps * worked_tokens // direct_tokens)
