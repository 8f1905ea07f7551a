def bits_per_byte(loss: float, tokens: int, size: int) -> float:
    return loss * tokens / size  # nats
