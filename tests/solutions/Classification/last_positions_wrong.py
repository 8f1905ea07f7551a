def last_positions(rows: list[list[int]], pad: int) -> list[int]:
    return [sum(token != pad for token in row) - 1 for row in rows]  # right only where padding is on the right
