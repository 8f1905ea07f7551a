def positions_of(mask: list[list[int]]) -> list[list[int]]:
    return [list(range(len(row))) for row in mask]
