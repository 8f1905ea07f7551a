import torch


def merge_dora(
    weight: torch.Tensor, A: torch.Tensor, B: torch.Tensor, magnitude: torch.Tensor, scaling: float
) -> torch.Tensor:
    summed = weight + scaling * B @ A
    return magnitude[:, None] * summed / summed.norm(dim=1, keepdim=True)
