def kept_gib(layers: int, tokens: int, hidden: int) -> float:
    return layers * tokens * hidden * 2 / 2**30
