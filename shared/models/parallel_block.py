"""One Falcon layer for training, forward and backward by hand: what has to be kept is chosen, not left to autograd.

A layer of Falcon-7B computes y = x + dense(attention(n)) + dense_4h_to_h(gelu(dense_h_to_4h(n))) with n = norm(x).
The outputs of `dense` and `dense_4h_to_h` are only added up: backward never needs them. So where a layer is recomputed,
only x is kept, and half of the forward products are left out of the recomputation, which general checkpointing cannot
know. A 4-bit weight is expanded for a product and let go. Adapters (LoRA, Hu 2021) are added inside the large product.
Gradients overwrite the tensors they belong to where those are needed no more.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

Lengths = Sequence[int] | None  # of the documents packed into a row; None: one document, or padding on the right


def as_they_are() -> saved_tensors_hooks:
    """What is saved for backward within stays where it is, whatever the hooks outside: it's needed at once, or chosen to
    be kept. Activation offloading would copy it to the CPU's memory and never ask for it back.
    """
    return saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)


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
    """From the gradients of the three parts that of what `rotate` was given, (tokens, heads times size)."""
    return rotate(torch.cat((query, key, value), dim=1).transpose(1, 2), cos, -sin).flatten(0, 1).flatten(1)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: Lengths = None) -> torch.Tensor:
    """Causal attention, (batch, heads, length, size), within each of the documents of `lengths`.

    Key and value may have fewer heads. No mask is passed, so that PyTorch takes its fused kernels; on a CPU a training
    step takes longer with those, and the plain one runs.
    """
    shared = {"is_causal": True, "enable_gqa": query.shape[1] != key.shape[1]}
    with sdpa_kernel(SDPBackend.MATH) if query.device.type == "cpu" else nullcontext():
        if lengths is None:
            return F.scaled_dot_product_attention(query, key, value, **shared)
        documents = zip(*(tensor.split(list(lengths), dim=2) for tensor in (query, key, value)), strict=True)
        return torch.cat([F.scaled_dot_product_attention(*document, **shared) for document in documents], dim=2)


def expand_4bit(packed, code, scales, scale_code, scale_scales, offset, block: int, scale_block: int) -> torch.Tensor:
    """What bitsandbytes' dequantize_4bit computes with double quantisation, flat, in bfloat16: one kernel, not three.

    Two bytes are read at a time and their four values written as one integer: few, wide accesses to memory.
    """
    words = packed.flatten().view(torch.int16).int()
    index = torch.arange(words.numel(), device=packed.device) // (block // 4)
    scale = scale_code[scales[index].int()] * scale_scales[index // scale_block] + offset
    four = torch.zeros_like(words, dtype=torch.int64)
    for place, shift in enumerate((4, 0, 12, 8)):  # the first value of a byte is in its upper half
        value = (code[(words >> shift) & 15] * scale).bfloat16()
        four |= (value.view(torch.int16).long() & 0xFFFF) << (16 * place)
    return four.view(torch.bfloat16)


def activate_in_place(inner: torch.Tensor, d_activated: torch.Tensor) -> None:
    """`inner` becomes gelu(inner), and the gradient of gelu(inner) that of inner: one pass over both."""
    d_inner, activated = torch.ops.aten.gelu_backward(d_activated, inner), F.gelu(inner)
    d_activated.copy_(d_inner)
    inner.copy_(activated)


def plus(into: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor | None:
    """`into` + a @ b, in place; a new tensor where `into` is None; `into` itself where the rank of a @ b is 0."""
    if a.shape[1] == 0:
        return into
    return a @ b if into is None else into.addmm_(a, b)


class Projection(NamedTuple):
    """A linear layer without bias and its adapter (LoRA, of rank 0 where there is none), in the arithmetic's type."""

    weight: torch.Tensor  # (outputs, inputs) in 16 or 32 bit, or packed to 4 bit
    quant_state: object | None
    A: torch.Tensor  # (rank, inputs)
    B: torch.Tensor  # (outputs, rank), times `scale`
    scale: float  # alpha / rank

    def expanded(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight in 16 or 32 bit."""
        state = self.quant_state
        if state is None:
            return self.weight
        if self.weight.device.type == "cuda" and state.nested and dtype == torch.bfloat16:
            inner = state.state2
            expand = compiled(expand_4bit, "cuda", dynamic=False)
            scales = (state.absmax, inner.code, inner.absmax, state.offset, state.blocksize, inner.blocksize)
            return expand(self.weight.data, state.code, *scales).view(state.shape)
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(self.weight.data, state).to(dtype)


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

    def attended(self, fused: torch.Tensor, shape: torch.Size, with_graph: bool) -> tuple[list, torch.Tensor]:
        """Queries, key and value, rotated, and their attention (batch, heads, length, size), with its own graph or none."""
        fused = fused.view(*shape[:2], -1, self.head_size)
        heads = compiled(rotate, fused.device.type)(fused, self.cos, self.sin).transpose(1, 2)
        heads = [heads[:, :-2], heads[:, -2:-1], heads[:, -1:]]
        with torch.set_grad_enabled(with_graph), as_they_are():
            heads = [head.detach().requires_grad_(with_graph) for head in heads]
            return heads, attend(*heads, self.lengths)


class ParallelBlock(torch.autograd.Function):
    """apply(layer, hidden (batch, length, size), norm weight, norm bias, then weight, A and B of each projection).

    The parameters are arguments only so that their gradients find them; the arithmetic takes what `layer` holds.
    `query_key_value` and `up` read the same input, `dense` and `down` add to the same output: the narrow products of
    their adapters are done in pairs.
    """

    @staticmethod
    def forward(ctx, layer: Layer, hidden: torch.Tensor, *parameters):
        query_key_value, dense, up, down = layer.projections
        x, dtype = hidden.reshape(-1, hidden.shape[-1]), hidden.dtype
        normed = layer.normed(x)[0]
        low_in = normed @ torch.cat((query_key_value.A, up.A)).T
        low_qkv, low_up = low_in.split([len(query_key_value.A), len(up.A)], dim=1)

        fused = plus(plus(None, low_qkv, query_key_value.B.T), normed, query_key_value.expanded(dtype).T)
        keep = not layer.recompute
        heads, attended = layer.attended(fused, hidden.shape, with_graph=keep)
        flat = attended.detach().transpose(1, 2).reshape(x.shape)
        del fused

        # The narrow product comes first: the wide one then adds to it while it writes.
        inner = plus(plus(None, low_up, up.B.T), normed, up.expanded(dtype).T)
        activated = F.gelu(inner)
        low_out = torch.cat((flat @ dense.A.T, activated @ down.A.T), dim=1)
        out = plus(None, low_out, torch.cat((dense.B, down.B), dim=1).T)
        out = plus(out, flat, dense.expanded(dtype).T)
        out = plus(out, activated, down.expanded(dtype).T).add_(x)

        ctx.save_for_backward(hidden)  # the one large tensor: activation offloading takes it from here
        ctx.layer, ctx.lows = layer, (low_in, low_out)
        ctx.kept = (inner, heads, attended) if keep else (None, None, None)
        return out.view(hidden.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out: torch.Tensor):
        (hidden,), layer, trained = ctx.saved_tensors, ctx.layer, ctx.needs_input_grad[1:]
        query_key_value, dense, up, down = layer.projections
        (low_in, low_out), (inner, heads, attended) = ctx.lows, ctx.kept
        ctx.kept = None
        ranks_in, ranks_out = [len(query_key_value.A), len(up.A)], [len(dense.A), len(down.A)]
        low_qkv, low_up = low_in.split(ranks_in, dim=1)
        x, dy, dtype = hidden.reshape(-1, hidden.shape[-1]), d_out.reshape(-1, hidden.shape[-1]), hidden.dtype
        normed, mean, rstd = layer.normed(x)
        needed = any(trained[:3])
        gradients: list[torch.Tensor | None] = [None] * 12  # weight, A, B of each projection

        d_low_dense, d_low_down = (dy @ torch.cat((dense.B, down.B), dim=1)).split(ranks_out, dim=1)
        d_B_dense, d_B_down = (dy.T @ low_out).split(ranks_out, dim=1)
        gradients[5], gradients[11] = d_B_dense * dense.scale, d_B_down * down.scale

        # MLP. A weight is expanded once for two products where it is small beside the activations, else twice.
        up_weight = up.expanded(dtype) if inner is None and x.shape[0] > x.shape[1] else None
        if inner is None:
            weight = up.expanded(dtype) if up_weight is None else up_weight
            inner = plus(plus(None, low_up, up.B.T), normed, weight.T)
            del weight
        d_inner = plus(plus(None, d_low_down, down.A), dy, down.expanded(dtype))
        compiled(activate_in_place, inner.device.type)(inner, d_inner)
        activated = inner
        gradients[9] = dy.T @ activated if trained[12] else None
        gradients[10] = d_low_down.T @ activated
        del inner, activated
        gradients[6] = d_inner.T @ normed if trained[9] else None
        gradients[8] = (d_inner.T @ low_up).mul_(up.scale)
        d_low_up = d_inner @ up.B
        d_normed = d_inner @ (up.expanded(dtype) if up_weight is None else up_weight) if needed else None
        del d_inner, up_weight

        # Attention.
        weight = query_key_value.expanded(dtype)
        if heads is None:
            fused = plus(plus(None, low_qkv, query_key_value.B.T), normed, weight.T)
            heads, attended = layer.attended(fused, hidden.shape, with_graph=True)
            del fused
        flat = attended.detach().transpose(1, 2).reshape(x.shape)
        gradients[3] = dy.T @ flat if trained[6] else None
        gradients[4] = d_low_dense.T @ flat
        del flat
        d_attended = plus(plus(None, d_low_dense, dense.A), dy, dense.expanded(dtype))
        d_attended = d_attended.view(*hidden.shape[:2], -1, layer.head_size).transpose(1, 2)
        d_heads = torch.autograd.grad(attended, heads, d_attended)
        del heads, attended, d_attended
        d_fused = compiled(rotate_back, dy.device.type)(*d_heads, layer.cos, layer.sin)
        del d_heads
        gradients[0] = d_fused.T @ normed if trained[3] else None
        gradients[2] = (d_fused.T @ low_qkv).mul_(query_key_value.scale)
        d_low_in = torch.cat((d_fused @ query_key_value.B, d_low_up), dim=1)
        gradients[1], gradients[7] = (d_low_in.T @ normed).split(ranks_in)

        gradients = [gradient if wanted else None for gradient, wanted in zip(gradients, trained[3:], strict=True)]
        if not needed:
            return None, None, None, None, *gradients
        d_normed = plus(d_normed, d_low_in, torch.cat((query_key_value.A, up.A)))
        d_normed.addmm_(d_fused, weight)
        d_x, d_weight, d_bias = torch.ops.aten.native_layer_norm_backward(
            d_normed, x, x.shape[-1:], mean, rstd, layer.norm.weight, layer.norm.bias, list(trained[:3])
        )
        return None, d_x.add_(dy).view(hidden.shape) if trained[0] else None, d_weight, d_bias, *gradients
