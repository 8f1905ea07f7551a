def lora_parameters(inputs: int, outputs: int, rank: int) -> int:
    return rank * inputs + outputs * rank
