def empty_rows(labels: list[list[int]]) -> list[int]:
    return [index for index, row in enumerate(labels) if set(row) == {-100}]  # counts the first label, too
