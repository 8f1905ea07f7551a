def trained_tokens(input_ids: list[int], labels: list[int], eos: int) -> tuple[int, bool]:
    trained = [label for label in labels if label != -100]
    return len(trained), eos in trained
