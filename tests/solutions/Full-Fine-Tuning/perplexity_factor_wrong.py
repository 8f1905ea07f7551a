def perplexity_factor(loss_before: float, loss_after: float) -> float:
    return loss_after / loss_before  # the loss is a logarithm already
