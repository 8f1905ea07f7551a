def pack_codes(codes: list[int]) -> list[int]:
    filled = codes + [0] * (len(codes) % 2)
    return [first << 4 | second for first, second in zip(filled[0::2], filled[1::2], strict=True)]
