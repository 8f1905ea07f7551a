def neighbours_to_halves(head_size: int) -> list[int]:
    half = head_size // 2
    return [place for i in range(half) for place in (i, i + half)]
