def positions_of(mask: list[list[int]]) -> list[list[int]]:
    return [[max(0, sum(row[: i + 1]) - 1) for i in range(len(row))] for row in mask]
