"""The loss over a frozen output matrix, for two wide products a token instead of three.

The usual way computes logits for the loss, lets them go (a batch's would be gigabytes), and computes them again for the
gradient. But where the matrix isn't trained, the loss of a token depends on its own hidden state alone, and whatever
weight the token gets later only multiplies that gradient: so it can be computed while the logits are there.
"""

import torch
from trl.trainer import utils

from shared.models.parallel_block import compiled

TOKENS = 1024  # whose logits are held at a time: 133 MB for Falcon-7B's vocabulary in 16 bit


def log_probability(logits: torch.Tensor, targets: torch.Tensor):
    """Of `targets` (tokens), the entropy, and whether no other token is likelier; `logits` become the gradient of the first.

    Of two that are equally likely the first counts.
    """
    scores = logits.float()
    log_z = scores.logsumexp(dim=-1, keepdim=True)
    log_p = scores - log_z
    is_target = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    chosen = log_p.gather(1, targets[:, None]).squeeze(1)
    p = log_p.exp()
    entropy = -(p * log_p).sum(dim=-1)
    is_top = scores.argmax(dim=-1) == targets
    logits.copy_(is_target.float() - p)
    return chosen, entropy, is_top


class FrozenHead(torch.autograd.Function):
    """apply(hidden (tokens, size), weight (vocabulary, size), targets (tokens)): what log_probability gives, for each."""

    @staticmethod
    def forward(ctx, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor):
        wanted = ctx.needs_input_grad[0]
        d_hidden = torch.empty_like(hidden) if wanted else None
        finish = compiled(log_probability, hidden.device.type, dynamic=True)
        parts = []
        for start in range(0, max(1, len(hidden)), TOKENS):
            here = slice(start, start + TOKENS)
            logits = hidden[here] @ weight.T
            parts.append(finish(logits, targets[here]))
            if wanted:
                torch.mm(logits, weight, out=d_hidden[here])
        log_p, entropy, is_top = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.save_for_backward(d_hidden)
        ctx.mark_non_differentiable(is_top)
        ctx.set_materialize_grads(False)
        return log_p, entropy, is_top

    @staticmethod
    def backward(ctx, d_log_p: torch.Tensor, d_entropy: torch.Tensor | None, _):
        if d_entropy is not None:
            raise NotImplementedError("frozen_head gives the entropy no gradient: train without fast_training here")
        (d_hidden,) = ctx.saved_tensors
        return torch.mul(d_hidden, d_log_p[:, None], out=torch.empty_like(d_hidden)), None, None


class Choice:
    """Stands where TRL's fused head calls its autograd function, and takes FrozenHead where that computes the same."""

    original = utils._ChunkedLogProbFunction

    @staticmethod
    def apply(hidden, weight, bias, targets, temperature, chunk_size, softcap, scale, outputs):
        plain = bias is None and softcap is None and temperature == 1.0 and scale == 1.0
        fits = weight.dtype == hidden.dtype and not torch.is_autocast_enabled(hidden.device.type)
        if plain and fits and not weight.requires_grad and set(outputs) <= {"log_probs", "entropy", "is_top1"}:
            log_p, entropy, is_top = FrozenHead.apply(hidden, weight, targets)
            return log_p, entropy, None, None, is_top
        rest = (bias, targets, temperature, chunk_size, softcap, scale, outputs)
        return Choice.original.apply(hidden, weight, *rest)


def use_frozen_head() -> None:
    """From now on TRL's trainers in this process compute the loss over a frozen output matrix by FrozenHead."""
    utils._ChunkedLogProbFunction = Choice
