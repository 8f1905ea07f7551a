def first_difference(trained: list[int], served: list[int]) -> int:
    pairs = enumerate(zip(trained, served, strict=False))
    return next((i for i, (a, b) in pairs if a != b), -1)  # stops where the shorter prompt ends
