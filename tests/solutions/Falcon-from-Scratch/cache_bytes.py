def cache_bytes(layers: int, key_heads: int, head_size: int, tokens: int, number_bytes: int) -> int:
    return 2 * layers * key_heads * head_size * tokens * number_bytes  # keys, and values
