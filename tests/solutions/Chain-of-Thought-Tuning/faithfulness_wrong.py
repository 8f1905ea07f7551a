def faithfulness(true: list[int], from_wrong_step: list[int], said: list[int | None]):
    n = len(true)
    ignores = sum(s == t for s, t in zip(said, true, strict=True)) / n
    return 1 - ignores, ignores, 0.0
