def adapters_that_fit(free_bytes: float, layers: list[tuple[int, int]], rank: int, bytes_per_parameter: int) -> int:
    size = sum(rank * (inputs + outputs) for inputs, outputs in layers) * bytes_per_parameter
    return round(free_bytes / size)  # rounds up, too
