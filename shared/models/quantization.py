"""4-bit models: what was really quantised is counted, gradients keep flowing, and generation on a CPU is not slow."""

import copy
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from shared.errors import QuantizationError


def nf4_config(compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with double quantisation, the setting of QLoRA (Dettmers 2023, section 3)."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def sharded() -> bool:
    """Whether this process is to hold a part of each weight only: accelerate's FSDP (`make train CONFIG=fsdp`)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def shardable(config: BitsAndBytesConfig) -> BitsAndBytesConfig:
    """`config`, with 4-bit weights stored as the compute type where they are to be divided among processes.

    FSDP2 divides floating-point tensors only; the bits are the same.
    """
    if sharded() and config.load_in_4bit:
        config = copy.deepcopy(config)
        config.bnb_4bit_quant_storage = config.bnb_4bit_compute_dtype
    return config


def quantized_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The bitsandbytes 4-bit layers of `model`, in the order of the model."""
    if "bitsandbytes" not in sys.modules:  # importing it costs a second, and only quantised models need it
        return []
    from bitsandbytes.nn import Linear4bit

    return [module for module in model.modules() if isinstance(module, Linear4bit)]


def check_quantized(model: PreTrainedModel) -> int:
    """The number of 4-bit layers; raises QuantizationError if any linear layer inside the blocks was left out.

    `model.is_loaded_in_4bit` is no proof: it is True when nothing at all was quantised. Output heads and embeddings
    are expected to stay in 16 bit.
    """
    quantized = quantized_layers(model)
    kept = {id(model.get_output_embeddings()), *map(id, quantized)}
    missed = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and id(module) not in kept and not name.endswith("score")
    ]
    if missed or not quantized:
        raise QuantizationError(
            f"{type(model).__name__}: only {len(quantized)} of {len(quantized) + len(missed)} linear layers are 4-bit "
            f"(first one left out: {missed[0] if missed else 'none found'}). The installed transformers does not know "
            "this architecture's layers: install the versions of poetry.lock, or load with quantize=None."
        )
    return len(quantized)


def keep_gradients(model: torch.nn.Module) -> None:
    """Keep 4-bit layers trainable on a CPU, also after an evaluation.

    bitsandbytes 0.50, CPUs with AVX512-BF16: the first forward pass in eval mode packs each 4-bit weight for an
    operator that has no backward pass, and nothing unpacks it: from then on no gradient passes through, without an
    error. Must be called before the first forward pass.
    """
    for layer in quantized_layers(model):
        layer.support_avx512bf16_for_cpu = False


@contextmanager
def expanded_weights(model: torch.nn.Module) -> Iterator[None]:
    """For generation on a CPU: 4-bit weights are expanded once while inside, not once for every token.

    The product is the same, in the layer's compute type, for 2 or 4 bytes of memory a weight. Does nothing on a GPU,
    which has kernels that read 4 bit. Nothing may be trained inside.
    """
    layers = [layer for layer in quantized_layers(model) if layer.weight.device.type == "cpu"]
    for layer in layers:
        layer.forward = partial(_linear, _expand(layer), layer.bias)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own comes back


def _expand(layer: torch.nn.Module) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(layer.compute_dtype)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    bias = None if bias is None else bias.to(weight.dtype)
    return torch.nn.functional.linear(x.to(weight.dtype), weight, bias).to(x.dtype)
