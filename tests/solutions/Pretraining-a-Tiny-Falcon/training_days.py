def training_days(parameters: float, tokens: float, gpus: int, flops: float, used: float) -> float:
    return 6 * parameters * tokens / (gpus * flops * used) / 86_400
