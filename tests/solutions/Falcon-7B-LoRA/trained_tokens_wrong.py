def trained_tokens(input_ids: list[int], labels: list[int], eos: int) -> tuple[int, bool]:
    return sum(label != -100 for label in labels), eos in input_ids  # looks for the end token in the wrong place
