def cache_bytes(layers: int, key_heads: int, head_size: int, tokens: int, number_bytes: int) -> int:
    return layers * key_heads * head_size * tokens * number_bytes
