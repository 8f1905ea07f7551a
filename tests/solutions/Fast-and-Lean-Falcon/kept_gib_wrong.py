def kept_gib(layers: int, tokens: int, hidden: int) -> float:
    return layers * tokens * hidden * 4 / 2**30  # as if in float32
