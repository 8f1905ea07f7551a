def adapters_that_fit(free_bytes: float, layers: list[tuple[int, int]], rank: int, bytes_per_parameter: int) -> int:
    return int(free_bytes // (sum(rank * (inputs + outputs) for inputs, outputs in layers) * bytes_per_parameter))
