def bits_per_weight(code_bits: int, scale_bits: int, block: int) -> float:
    return code_bits + scale_bits / block
