def pad_for_generation(rows: list[list[int]], pad: int) -> tuple[list[list[int]], list[list[int]]]:
    longest = max(map(len, rows))
    padded = [[pad] * (longest - len(row)) + row for row in rows]
    return padded, [[int(token != pad) for token in row] for row in padded]  # a row's own padding token gets lost
