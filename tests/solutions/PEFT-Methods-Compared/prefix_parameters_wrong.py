def prefix_parameters(virtual: int, layers: int, hidden: int, heads: int, key_heads: int) -> int:
    return 2 * virtual * layers * hidden  # as if keys had as many heads as attention
