"""Two guards for 4-bit models: what was really quantised is counted, and gradients keep flowing after an evaluation."""

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


def quantized_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The bitsandbytes 4-bit layers of `model`, in the order of the model."""
    from bitsandbytes.nn import Linear4bit  # costs a second, and only quantised models need it

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
