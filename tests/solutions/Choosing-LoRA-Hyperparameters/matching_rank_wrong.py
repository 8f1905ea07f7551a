def matching_rank(all_layers: list[tuple[int, int]], some_layers: list[tuple[int, int]], rank: int) -> int:
    return round(rank * len(all_layers) / len(some_layers))  # as if all layers were of the same shape
