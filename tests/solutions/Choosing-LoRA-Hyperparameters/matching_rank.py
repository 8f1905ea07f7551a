def matching_rank(all_layers: list[tuple[int, int]], some_layers: list[tuple[int, int]], rank: int) -> int:
    per_rank = [sum(inputs + outputs for inputs, outputs in layers) for layers in (all_layers, some_layers)]
    return round(rank * per_rank[0] / per_rank[1])
