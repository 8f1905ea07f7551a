def update_scale(alpha: float, rank: int, rslora: bool) -> float:
    return alpha / rank  # without the root of rsLoRA
