def pad_for_generation(rows: list[list[int]], pad: int) -> tuple[list[list[int]], list[list[int]]]:
    missing = [max(map(len, rows)) - len(row) for row in rows]
    padded = [[pad] * n + row for n, row in zip(missing, rows, strict=True)]
    return padded, [[0] * n + [1] * len(row) for n, row in zip(missing, rows, strict=True)]
