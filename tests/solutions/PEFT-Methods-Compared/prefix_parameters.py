def prefix_parameters(virtual: int, layers: int, hidden: int, heads: int, key_heads: int) -> int:
    return 2 * virtual * layers * (hidden // heads) * key_heads
