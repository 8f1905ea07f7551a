"""Falcon on today's libraries: what has to be repaired so that it trains as the lesson says.

Three defects of transformers 5.5 to 5.23, none of which raises an error:

1. 4-bit is off. The projections are of the class FalconLinear, and bitsandbytes' integration replaces only modules
   whose type *is* torch.nn.Linear. Falcon-7B's have no biases, so a plain Linear does the same arithmetic.
2. Attention takes the slowest kernel. It is always given a mask, and one key head against many query heads.
3. Documents packed into one row see each other: `position_ids` do not reach the mask.

`plain_linear_layers` repairs the first, `repair_attention` the other two; each looks for the defect and steps aside
where it is gone.
"""

import inspect
import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from transformers import FalconConfig, FalconForCausalLM, PreTrainedModel
from transformers.models.falcon import modeling_falcon

from shared.models.parallel_block import Lengths, attend

# The projections of one Falcon layer: attention in (queries, keys, values fused), attention out, MLP in, MLP out.
PROJECTIONS = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]


@contextmanager
def plain_linear_layers() -> Iterator[None]:
    """Models built inside have torch.nn.Linear where Falcon would put FalconLinear, so that they can be quantised.

    Does nothing where transformers has no class of its own any more.
    """
    original = getattr(modeling_falcon, "FalconLinear", None)
    if original is None:
        yield
        return
    modeling_falcon.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = original


def attention_defects() -> set[str]:
    """What the installed transformers does wrong: "mask" (no fused kernel can be taken), "packing" (documents leak).

    Found by running a Falcon of one layer, on the CPU, in milliseconds.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        sizes = {"vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = FalconConfig(**sizes, bos_token_id=0, eos_token_id=0)
        config._attn_implementation = "sdpa"
        model = FalconForCausalLM(config).float().train()
    calls, kernel = [], F.scaled_dot_product_attention

    def record(query, key, value, attn_mask=None, **options):
        same_heads = query.shape[1] == key.shape[1] or options.get("enable_gqa", False)
        calls.append(attn_mask is None and options.get("is_causal", False) and same_heads)
        return kernel(query, key, value, attn_mask=attn_mask, **options)

    F.scaled_dot_product_attention = record
    try:
        model(input_ids=torch.tensor([[1, 2, 3]]), attention_mask=torch.ones(1, 3, dtype=torch.long), use_cache=False)
    finally:
        F.scaled_dot_product_attention = kernel
    positions = torch.tensor([[0, 1, 0, 1]])
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([[3, 4]]), use_cache=False).logits
        packed = model(input_ids=torch.tensor([[1, 2, 3, 4]]), position_ids=positions, use_cache=False).logits[:, 2:]
    found = {"mask": not all(calls), "packing": not torch.allclose(alone, packed, atol=1e-5)}
    return {name for name, present in found.items() if present}


def causal_layout(attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None) -> tuple[bool, Lengths]:
    """(True, lengths of the packed documents or None) where plain causal attention is exact, else (False, None).

    It is for rows without padding or padded on the right, (batch, length): no token before the padding can see it, and
    what stands in the padding is not used. And for documents packed into a single row, whose positions start anew.
    """
    if attention_mask is not None and (
        attention_mask.dim() != 2 or not bool((attention_mask[:, 1:] <= attention_mask[:, :-1]).all())
    ):
        return False, None
    if position_ids is None:
        return True, None
    if position_ids.shape[0] == 1 and attention_mask is None:
        starts = [*(position_ids[0] == 0).nonzero()[:, 0].tolist(), position_ids.shape[1]]
        lengths = [end - start for start, end in itertools.pairwise(starts)]
        counted = [position for length in lengths for position in range(length)]
        if counted == position_ids[0].tolist():
            return True, None if len(lengths) == 1 else lengths
        return False, None
    return bool((position_ids == torch.arange(position_ids.shape[1], device=position_ids.device)).all()), None


def restarts(position_ids: torch.Tensor | None, attention_mask: torch.Tensor | None) -> bool:
    """Whether positions start anew within a row, which means packed documents; behind padding they begin."""
    if position_ids is None:
        return False
    anew = position_ids[..., 1:] == 0
    length = position_ids.shape[-1]  # with a cache, the mask reaches further back
    if attention_mask is not None and attention_mask.dim() == 2 and attention_mask.shape[1] >= length:
        anew = anew & attention_mask[:, -length:][:, :-1].bool()
    return bool(anew.any())


def repair_attention(model: PreTrainedModel) -> PreTrainedModel:
    """Let the attention of a Falcon take PyTorch's fused kernels, and keep documents packed into one row apart.

    Where plain causal attention is exact (`causal_layout`), no mask is passed. With a
    cache, padding on the left, ALiBi, returned attentions, or "eager" attention on unpacked rows, the library's own
    code runs as before. Does nothing where transformers has none of the defects any more.
    """
    if not model.base_model.use_alibi and attention_defects():
        _attend_without_mask(model.base_model)
    return model


def _attend_without_mask(transformer: torch.nn.Module) -> None:
    stock_forward = transformer.forward.__func__  # called with `self`, so that a copy of the model runs its own weights

    def forward(self, *args, **kwargs):
        call = arguments(self, args, kwargs)
        no_cache = call.get("past_key_values") is None and (self.training or call.get("use_cache") is False)
        if no_cache and not call.get("output_attentions"):
            usable, lengths = causal_layout(call.get("attention_mask"), call.get("position_ids"))
            if usable and (self.config._attn_implementation == "sdpa" or lengths is not None):
                # Of four dimensions: the library hands it on to each layer as it is. Of no floating type: FSDP's mixed
                # precision would put a copy in its place.
                marker = torch.empty(1, 1, 1, 1, dtype=torch.bool)
                marker.lengths = lengths
                named = call.pop("kwargs", {})
                del call["self"]
                return stock_forward(self, **call | named | {"attention_mask": marker, "use_cache": False})
        if restarts(call.get("position_ids"), call.get("attention_mask")):
            warnings.warn("packed documents see each other: pack them into one row, without a mask", stacklevel=2)
        return stock_forward(self, *args, **kwargs)

    def wrap(stock_attention):
        def attention(self, hidden_states, alibi, attention_mask, *args, position_embeddings=None, **kwargs):
            if not hasattr(attention_mask, "lengths"):
                kwargs["position_embeddings"] = position_embeddings
                return stock_attention(self, hidden_states, alibi, attention_mask, *args, **kwargs)
            heads = [part.transpose(1, 2) for part in self._split_heads(self.query_key_value(hidden_states))]
            query, key = modeling_falcon.apply_rotary_pos_emb(*heads[:2], *position_embeddings)
            attended = attend(query, key, heads[2], attention_mask.lengths)
            return self.dense(attended.transpose(1, 2).reshape(hidden_states.shape)), None

        return attention

    replace_forward(transformer, forward)
    for layer in transformer.h:
        replace_forward(layer.self_attention, wrap(layer.self_attention.forward.__func__))


def replace_forward(module: torch.nn.Module, forward) -> None:
    """Let this one module run `forward(self, ...)`, by a class of its own.

    A bound method kept in the module would refer back to it, and `del model` would free nothing until the garbage
    collector comes round.
    """
    stock = type(module)
    module.__class__ = type(stock.__name__, (stock,), {"forward": forward, "__module__": stock.__module__})


def arguments(transformer: torch.nn.Module, args: tuple, kwargs: dict) -> dict:
    """The arguments of a call of FalconModel.forward by their names, whoever wraps it."""
    return inspect.signature(modeling_falcon.FalconModel.forward).bind(transformer, *args, **kwargs).arguments
