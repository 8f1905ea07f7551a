def pack_codes(codes: list[int]) -> list[int]:
    filled = codes + [0] * (len(codes) % 2)
    return [second << 4 | first for first, second in zip(filled[0::2], filled[1::2], strict=True)]  # halves exchanged
