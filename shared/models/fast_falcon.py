"""Fast training of Falcon, opt-in: the layers of parallel_block instead of the library's, where they compute the same."""

import warnings

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from shared.models.falcon import arguments, causal_layout, replace_forward
from shared.models.frozen_head import use_frozen_head
from shared.models.parallel_block import Layer, ParallelBlock, Projection
from shared.models.quantization import sharded


def projection_tensors(module: torch.nn.Module) -> tuple | None:
    """(weight, A, B, quant_state, alpha / rank) of a linear layer, A and B None without an adapter.

    None where it is more than a product and a plain LoRA adapter: then the library's own code has to run.
    """
    base = getattr(module, "base_layer", module)
    weight, state = getattr(base, "weight", None), getattr(getattr(base, "weight", None), "quant_state", None)
    if not isinstance(base, torch.nn.Linear) or base.bias is not None:
        return None
    if module._forward_pre_hooks or module._forward_hooks:  # PEFT's adapter_names, one adapter a row, comes that way
        return None
    if base is module or module.disable_adapters or module.merged:
        return weight, None, None, state, 1.0
    active = [name for name in module.active_adapters if name in getattr(module, "lora_A", {})]
    if not active:
        return (weight, None, None, state, 1.0) if hasattr(module, "lora_A") else None
    name = active[0]
    if not isinstance(module.lora_A[name], torch.nn.Linear):  # AdaLoRA's are parameters
        return None
    dropout = module.lora_dropout[name]
    plain = len(active) == 1 and name not in module.lora_variant and module.lora_B[name].bias is None
    if not plain or (module.training and getattr(dropout, "p", 0.0) > 0.0):
        return None
    return weight, module.lora_A[name].weight, module.lora_B[name].weight, state, module.scaling[name]


def unusable(model: PreTrainedModel) -> str | None:
    """Why `fast_training` can do nothing for this model; None if it can."""
    config = model.config
    if sharded():
        return "FSDP gathers a layer's weights when its own forward is called"
    if config.model_type != "falcon":
        return f"{config.model_type} has its own layers"
    wanted = {"parallel_attn": True, "multi_query": True, "new_decoder_architecture": False, "alibi": False}
    wanted |= {"bias": False, "activation": "gelu", "hidden_dropout": 0.0, "attention_dropout": 0.0}
    different = [f"{name}={getattr(config, name)}" for name, value in wanted.items() if getattr(config, name) != value]
    return f"this Falcon has {', '.join(different)}" if different else None


def fast_training(model: PreTrainedModel, recompute: bool | int = True) -> str | None:
    """Train Falcon's layers by parallel_block from now on, in place; returns why not, where that is not possible.

    `recompute`: how many layers, from the first, are computed again in backward instead of being kept; True is all, False
    none. It stands in for `gradient_checkpointing`, which has no effect on these layers. Adapters may be added, switched
    and removed afterwards. A pass that needs more (a cache, padding on the left, DoRA, autocast) takes the library's
    code; in training a warning says so, once. The loss over an output matrix that isn't trained is computed by frozen_head.
    """
    if reason := unusable(model):
        return reason
    transformer = model.base_model
    count = len(transformer.h) if recompute is True else int(recompute)
    stock_forward = transformer.forward.__func__

    def forward(self, *args, **kwargs):
        call = arguments(self, args, kwargs)
        hidden = fast_pass(self, call, count)
        if hidden is None:
            if self.training and torch.is_grad_enabled():
                warnings.warn("fast_training: this pass runs in the library's own, slower code", stacklevel=2)
            return stock_forward(self, *args, **kwargs)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)

    replace_forward(transformer, forward)
    use_frozen_head()
    return None


def fast_pass(transformer: torch.nn.Module, call: dict, recomputed: int) -> torch.Tensor | None:
    """The last hidden states (batch, length, size) of a FalconModel; None where its own code has to run."""
    wants = ("past_key_values", "output_attentions", "output_hidden_states")
    if any(call.get(name) or getattr(transformer.config, name, False) for name in wants):
        return None
    if call.get("use_cache") is not False and not transformer.training:
        return None
    ids, hidden, embedding = call.get("input_ids"), call.get("inputs_embeds"), transformer.word_embeddings
    device, dtype = embedding.weight.device, embedding.weight.dtype
    if (ids is None) == (hidden is None) or torch.is_autocast_enabled(device.type):
        return None
    norms = [block.input_layernorm for block in transformer.h]
    tensors = [projection_tensors(module) for block in transformer.h for module in projections(block)]
    if None in tensors or any(norm.weight.dtype != dtype for norm in norms):
        return None
    if any(state is None and weight.dtype != dtype for weight, _, _, state, _ in tensors):  # 8-bit weights, too
        return None
    built = in_compute_type(tensors, dtype)
    # Reads the mask, so the CPU waits for the GPU here: what takes the CPU time has to stand above.
    usable, lengths = causal_layout(call.get("attention_mask"), call.get("position_ids"))
    if not usable:
        return None
    if hidden is None:
        hidden = embedding(ids)
        if hidden.grad_fn is None:  # PEFT lets it require a gradient, for checkpointing; nothing here needs one
            hidden = hidden.detach()
    positions = call.get("position_ids")
    if positions is None:
        positions = torch.arange(hidden.shape[1], device=device).unsqueeze(0)
    cos, sin = transformer.rotary_emb(hidden, position_ids=positions)
    half = sin.shape[-1] // 2
    sin = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
    head_size = transformer.h[0].self_attention.head_dim
    for index, norm in enumerate(norms):
        mine = slice(4 * index, 4 * index + 4)
        recompute = index < recomputed or not torch.is_grad_enabled()
        layer = Layer(built[mine], norm, head_size, cos, sin, lengths, recompute)
        parameters = [parameter for weight, A, B, *_ in tensors[mine] for parameter in (weight, A, B)]
        hidden = ParallelBlock.apply(layer, hidden, norm.weight, norm.bias, *parameters)
    return transformer.ln_f(hidden)


def in_compute_type(tensors: list[tuple], dtype: torch.dtype) -> list[Projection]:
    """The projections with their adapters in `dtype`, B times its scale: copied for all layers at once."""
    adapted = [(A, B, scale) for _, A, B, _, scale in tensors if A is not None]
    parameters = [A for A, _, _ in adapted] + [B for _, B, _ in adapted]
    flat = torch.empty(sum(p.numel() for p in parameters), dtype=dtype, device=tensors[0][0].device)
    parts = flat.split([p.numel() for p in parameters])
    copies = [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]
    if parameters:
        with torch.no_grad():
            torch._foreach_copy_(copies, parameters)
            torch._foreach_mul_(copies[len(adapted) :], [scale for _, _, scale in adapted])
    pairs = iter(zip(copies[: len(adapted)], copies[len(adapted) :], strict=True))
    built = []
    for weight, A, _, state, scale in tensors:
        outputs, inputs = weight.shape if state is None else state.shape
        pair = next(pairs) if A is not None else (flat.new_empty(0, inputs), flat.new_empty(outputs, 0))
        built.append(Projection(weight, state, *pair, scale))
    return built


def projections(block: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules of PROJECTIONS in one layer, in that order."""
    attention, mlp = block.self_attention, block.mlp
    return [attention.query_key_value, attention.dense, mlp.dense_h_to_4h, mlp.dense_4h_to_h]
