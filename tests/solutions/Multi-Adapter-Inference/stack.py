import torch


def stack(As, Bs, factors):
    return torch.cat([factor * A for A, factor in zip(As, factors, strict=True)]), torch.cat(Bs, dim=1)
