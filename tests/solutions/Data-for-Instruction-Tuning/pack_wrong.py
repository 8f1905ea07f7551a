def pack(examples: list[tuple[list[int], int]]) -> tuple[list[int], list[int], list[int]]:
    row, labels = [], []
    for ids, prompt in examples:
        row += ids
        labels += [-100] * prompt + ids[prompt:]
    return row, labels, list(range(len(row)))  # one example, as far as the model can see
