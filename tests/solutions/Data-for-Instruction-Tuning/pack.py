def pack(examples: list[tuple[list[int], int]]) -> tuple[list[int], list[int], list[int]]:
    row, labels, positions = [], [], []
    for ids, prompt in examples:
        masked = max(1, prompt)  # the token before the first one belongs to another example
        row += ids
        labels += [-100] * masked + ids[masked:]
        positions += range(len(ids))
    return row, labels, positions
