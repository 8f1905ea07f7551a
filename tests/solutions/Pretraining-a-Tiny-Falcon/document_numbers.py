def document_numbers(row: list[int], end: int) -> list[int]:
    numbers, ended = [], 0
    for token in row:
        numbers.append(ended)
        ended += token == end
    return numbers
