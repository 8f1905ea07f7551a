def neighbours_to_halves(head_size: int) -> list[int]:
    return [*range(0, head_size, 2), *range(1, head_size, 2)]
