"""One Falcon layer for training, forward and backward by hand: what has to be kept is chosen, not left to autograd.

A layer of Falcon-7B computes y = x + dense(attention(n)) + dense_4h_to_h(gelu(dense_h_to_4h(n))) with n = norm(x).
The outputs of `dense` and `dense_4h_to_h` are only added up: backward never needs them. So where a layer is recomputed,
only x is kept, and half of the forward products are left out of the recomputation, which general checkpointing cannot
know. A 4-bit weight is expanded for a product and let go. Adapters (LoRA, Hu 2021) are added inside the large product.
Gradients take the place of what they are the gradient of, where they can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

Lengths = Sequence[int] | None  # of the documents packed into a row; None: one document, or padding on the right


@cache
def compiled(function, device: str, **options):
    """`function` as one kernel on a GPU; as it is on a CPU, where nothing would be gained."""
    return torch.compile(function, **options) if device == "cuda" else function


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su 2021) for all heads but the last, the values: (batch, length, heads, size).

    cos and sin are (1 or batch, length, size), the first half of sin negative. `-sin` rotates back.
    """
    halves_swapped = heads.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    rotated = heads * cos.unsqueeze(2) + halves_swapped * sin.unsqueeze(2)
    is_value = torch.arange(heads.shape[2], device=heads.device)[:, None] == heads.shape[2] - 1
    return torch.where(is_value, heads, rotated)


def rotate_back(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cos, sin) -> torch.Tensor:
    """The gradient of what `rotate` was given, (batch, length, heads, size), from those of its three parts."""
    return rotate(torch.cat((query, key, value), dim=1).transpose(1, 2), cos, -sin)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: Lengths = None) -> torch.Tensor:
    """Causal attention, (batch, heads, length, size), within each of the documents of `lengths`.

    Key and value may have fewer heads. No mask is passed, so that PyTorch takes its fused kernels.
    """
    shared = {"is_causal": True, "enable_gqa": query.shape[1] != key.shape[1]}
    if lengths is None:
        return F.scaled_dot_product_attention(query, key, value, **shared)
    documents = zip(*(tensor.split(list(lengths), dim=2) for tensor in (query, key, value)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*document, **shared) for document in documents], dim=2)


def expand_4bit(packed, code, scales, scale_code, scale_scales, offset, block: int, scale_block: int) -> torch.Tensor:
    """What bitsandbytes' dequantize_4bit computes with double quantisation, flat and in float32: one kernel, not three."""
    index = torch.arange(scales.numel(), device=packed.device) // scale_block
    scale = scale_code[scales.int()] * scale_scales[index] + offset
    values = torch.stack((code[(packed.flatten() >> 4).int()], code[(packed.flatten() & 15).int()]), dim=-1)
    return values.view(-1, block) * scale[:, None]


def expand_to_bfloat16(*arguments) -> torch.Tensor:
    return expand_4bit(*arguments).bfloat16()


class Adapter(NamedTuple):
    """LoRA in the type of the arithmetic: A (rank, inputs), B (outputs, rank) times `scale` = alpha / rank."""

    A: torch.Tensor
    B: torch.Tensor
    scale: float


class Projection(NamedTuple):
    """A linear layer without bias: its weight (outputs, inputs) in 16 or 32 bit, or packed to 4 bit, and its adapter."""

    weight: torch.Tensor
    quant_state: object | None = None
    adapter: Adapter | None = None

    def expanded(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight in 16 or 32 bit."""
        state = self.quant_state
        if state is None:
            return self.weight
        if self.weight.device.type == "cuda" and state.nested and dtype == torch.bfloat16:
            inner = state.state2
            expand = compiled(expand_to_bfloat16, "cuda", dynamic=False)
            scales = (state.absmax, inner.code, inner.absmax, state.offset, state.blocksize, inner.blocksize)
            return expand(self.weight.data, state.code, *scales).view(state.shape)
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(self.weight.data, state).to(dtype)

    def to_rank(self, x: torch.Tensor) -> torch.Tensor | None:
        """(tokens, inputs) to (tokens, rank)."""
        return None if self.adapter is None else x @ self.adapter.A.T

    def output(self, x: torch.Tensor, low: torch.Tensor | None, into: torch.Tensor | None = None, weight=None):
        """(tokens, outputs), added to `into` where it is given; `low` is `to_rank(x)`, `weight` is `expanded()`."""
        weight = self.expanded(x.dtype) if weight is None else weight
        if low is not None:  # first, so that the large product adds to it while it writes
            into = low @ self.adapter.B.T if into is None else into.addmm_(low, self.adapter.B.T)
        return x @ weight.T if into is None else into.addmm_(x, weight.T)

    def gradients(self, dy: torch.Tensor, x: torch.Tensor, low: torch.Tensor | None, trained: Sequence[bool]) -> tuple:
        """Of weight, A and B (None where not `trained`), then the gradient of A's output (tokens, rank)."""
        d_weight = dy.T @ x if trained[0] else None
        if self.adapter is None:
            return d_weight, None, None, None
        d_low = dy @ self.adapter.B
        d_A = d_low.T @ x if trained[1] else None
        d_B = (dy.T @ low).mul_(self.adapter.scale) if trained[2] else None
        return d_weight, d_A, d_B, d_low

    def input_gradient(
        self, dy: torch.Tensor, d_low: torch.Tensor | None, into: torch.Tensor | None = None, weight=None
    ):
        """(tokens, inputs), added to `into` where it is given."""
        weight = self.expanded(dy.dtype) if weight is None else weight
        if d_low is not None:
            into = d_low @ self.adapter.A if into is None else into.addmm_(d_low, self.adapter.A)
        return dy @ weight if into is None else into.addmm_(dy, weight)


@dataclass
class Layer:
    """What a layer needs beside its input."""

    projections: list[Projection]  # query_key_value, dense, dense_h_to_4h, dense_4h_to_h
    norm: torch.nn.LayerNorm
    head_size: int
    cos: torch.Tensor  # both (1 or batch, length, head size)
    sin: torch.Tensor
    lengths: Lengths = None
    recompute: bool = True

    def normed(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The normalised input, its mean and the inverse of its standard deviation."""
        return torch.native_layer_norm(x, x.shape[-1:], self.norm.weight, self.norm.bias, self.norm.eps)

    def heads(self, fused: torch.Tensor, shape: torch.Size) -> list[torch.Tensor]:
        """Queries (batch, heads, length, size), key and value (batch, 1, length, size), rotated."""
        fused = fused.view(*shape[:2], -1, self.head_size)
        rotated = compiled(rotate, fused.device.type)(fused, self.cos, self.sin).transpose(1, 2)
        return [rotated[:, :-2], rotated[:, -2:-1], rotated[:, -1:]]

    def heads_gradient(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """The gradient of `fused`, (tokens, heads + 2 times size)."""
        return compiled(rotate_back, self.cos.device.type)(*gradients, self.cos, self.sin).flatten(0, 1).flatten(1)


class ParallelBlock(torch.autograd.Function):
    """apply(layer, hidden (batch, length, size), norm weight, norm bias, then weight, A and B of each projection).

    The parameters are arguments only so that their gradients find them; the arithmetic takes what `layer` holds.
    """

    @staticmethod
    def forward(ctx, layer: Layer, hidden: torch.Tensor, *parameters):
        query_key_value, dense, up, down = layer.projections
        x = hidden.reshape(-1, hidden.shape[-1])
        normed = layer.normed(x)[0]

        low_qkv, low_up = query_key_value.to_rank(normed), up.to_rank(normed)
        heads = layer.heads(query_key_value.output(normed, low_qkv), hidden.shape)
        keep = not layer.recompute
        with torch.set_grad_enabled(keep):  # a graph of attention alone, kept for its backward
            heads = [head.detach().requires_grad_(keep) for head in heads]
            attended = attend(*heads, layer.lengths)
        flat = attended.detach().transpose(1, 2).reshape(x.shape)
        low_dense = dense.to_rank(flat)
        out = dense.output(flat, low_dense)
        del flat

        inner = up.output(normed, low_up)
        del normed
        activated = F.gelu(inner)
        low_down = down.to_rank(activated)
        out = down.output(activated, low_down, into=out).add_(x)

        ctx.save_for_backward(hidden)  # the one large tensor: activation offloading takes it from here
        ctx.layer, ctx.lows = layer, (low_qkv, low_dense, low_up, low_down)
        ctx.kept = (inner, heads, attended) if keep else (None, None, None)
        return out.view(hidden.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out: torch.Tensor):
        (hidden,), layer, trained = ctx.saved_tensors, ctx.layer, ctx.needs_input_grad[1:]
        query_key_value, dense, up, down = layer.projections
        low_qkv, low_dense, low_up, low_down = ctx.lows
        inner, heads, attended = ctx.kept
        ctx.kept = None
        x, dy = hidden.reshape(-1, hidden.shape[-1]), d_out.reshape(-1, hidden.shape[-1])
        normed, mean, rstd = layer.normed(x)

        # Expanded once for two products where the weight is small beside the activations, else twice.
        up_weight = up.expanded(x.dtype) if x.shape[0] > x.shape[1] else None
        if inner is None:
            inner = up.output(normed, low_up, weight=up_weight)
        activated = F.gelu(inner)
        *d_down, d_low = down.gradients(dy, activated, low_down, trained[12:15])
        del activated
        d_inner = down.input_gradient(dy, d_low)
        torch.ops.aten.gelu_backward.grad_input(d_inner, inner, grad_input=d_inner)
        del inner
        *d_up, d_low = up.gradients(d_inner, normed, low_up, trained[9:12])
        needed = any(trained[:3])
        d_normed = up.input_gradient(d_inner, d_low, weight=up_weight) if needed else None
        del d_inner, up_weight

        qkv_weight = query_key_value.expanded(x.dtype)
        if heads is None:
            heads = layer.heads(query_key_value.output(normed, low_qkv, weight=qkv_weight), hidden.shape)
            with torch.enable_grad():
                heads = [head.detach().requires_grad_() for head in heads]
                attended = attend(*heads, layer.lengths)
        flat = attended.detach().transpose(1, 2).reshape(x.shape)
        *d_dense, d_low = dense.gradients(dy, flat, low_dense, trained[6:9])
        del flat
        d_attended = dense.input_gradient(dy, d_low).view(*hidden.shape[:2], -1, layer.head_size).transpose(1, 2)
        d_heads = torch.autograd.grad(attended, heads, d_attended)
        del heads, attended, d_attended
        d_fused = layer.heads_gradient(d_heads)
        del d_heads
        *d_qkv, d_low = query_key_value.gradients(d_fused, normed, low_qkv, trained[3:6])
        gradients = (*d_qkv, *d_dense, *d_up, *d_down)
        if not needed:
            return None, None, None, None, *gradients
        d_normed = query_key_value.input_gradient(d_fused, d_low, into=d_normed, weight=qkv_weight)
        d_x, d_weight, d_bias = torch.ops.aten.native_layer_norm_backward(
            d_normed, x, x.shape[-1:], mean, rstd, layer.norm.weight, layer.norm.bias, list(trained[:3])
        )
        return None, d_x.add_(dy).view(hidden.shape) if trained[0] else None, d_weight, d_bias, *gradients
