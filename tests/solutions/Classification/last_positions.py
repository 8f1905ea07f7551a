def last_positions(rows: list[list[int]], pad: int) -> list[int]:
    return [max(place for place, token in enumerate(row) if token != pad) for row in rows]
