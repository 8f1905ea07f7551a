def empty_rows(labels: list[list[int]]) -> list[int]:
    return [index for index, row in enumerate(labels) if all(label == -100 for label in row[1:])]
