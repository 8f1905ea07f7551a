def document_numbers(row: list[int], end: int) -> list[int]:
    numbers, ended = [], 0
    for token in row:
        ended += token == end  # counts the end token to the next document
        numbers.append(ended)
    return numbers
