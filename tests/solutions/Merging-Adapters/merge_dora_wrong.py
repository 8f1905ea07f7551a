import torch


def merge_dora(
    weight: torch.Tensor, A: torch.Tensor, B: torch.Tensor, magnitude: torch.Tensor, scaling: float
) -> torch.Tensor:
    return magnitude[:, None] * (weight + scaling * B @ A) / weight.norm(dim=1, keepdim=True)
