def adapter_bytes(inputs: int, outputs: int, rank: int, element: int) -> int:
    return 4 * rank * (inputs + outputs) * element
