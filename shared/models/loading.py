"""Loading models and tokenizers: safetensors only, no remote code, and what was asked for is checked."""

import ctypes
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from shared.data.tokens import complete
from shared.errors import WeightsError
from shared.gpu import check_device, check_quantization_support
from shared.models.falcon import plain_linear_layers, repair_attention
from shared.models.quantization import check_quantized, keep_gradients, nf4_config, shardable
from shared.models.weights import find_weights
from shared.profile import PROFILES, Profile

transformers.utils.logging.disable_progress_bar()  # a bar a model load, on stderr, would stay in the notebooks


def fetch_weights(profile: Profile) -> Profile:
    """`profile` with `weights` naming the folder they are in, fetched where needed.

    Where profile small's weights cannot be had, it is profile tiny that comes back, its `note` saying why. Raises
    WeightsError where the weights of another model cannot be had, DeviceError where the profile needs another device.
    """
    check_device(profile)
    found = find_weights(profile.model, profile.revision)
    if found.source == "fallback":
        wanted, tiny = PROFILES[profile.name], PROFILES["tiny"]
        kept = {name: getattr(profile, name) for name in ("seed", "dataset", "output_dir", "is_standard_run")}
        kept["batch_size"] = tiny.batch_size * profile.batch_size // wanted.batch_size  # one process's part of it
        if profile.max_steps != wanted.max_steps:
            kept["max_steps"] = profile.max_steps
        profile = replace(tiny, **kept)
    return replace(profile, weights=found.path, weights_source=found.source, note=found.note)


def default_dtype() -> torch.dtype:
    """bfloat16 where the device multiplies in it; else float16 on a GPU and float32 on a CPU."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32


def load_model(
    weights: str | Path,
    quantize: str | BitsAndBytesConfig | None = None,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> PreTrainedModel:
    """A causal language model on the GPU if there is one (this process's own, of several), else on the CPU.

    `weights`: a folder or a Hub name. `quantize`: "nf4", a BitsAndBytesConfig of your own, or None for 16 or 32 bit;
    `dtype` (of the weights, or of the arithmetic if quantised) defaults to `default_dtype()`.
    Raises WeightsError if nothing can be loaded, QuantizationError if layers were left unquantised, DeviceError if the
    device cannot quantise.
    """
    if quantize is not None:
        check_quantization_support()
    folder = find_weights(str(weights), revision).path
    dtype = dtype or default_dtype()
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    config = quantize
    if quantize == "nf4":
        config = nf4_config(dtype)
    elif isinstance(quantize, str):
        raise ValueError(f'quantize="{quantize}": expected "nf4", a BitsAndBytesConfig or None')
    if config is not None:
        config = shardable(config)
    try:
        saved = AutoConfig.from_pretrained(folder)
        falcon = saved.model_type == "falcon"
        if quantize is None and hasattr(saved, "quantization_config"):
            raise WeightsError(f'The model in {weights} was saved quantised: load it with quantize="nf4".')
        with plain_linear_layers() if falcon else nullcontext():
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                quantization_config=config,
                device_map={"": device},
                # On a CPU a training step takes longer with the fused kernel (`make bench` prints the ratio).
                attn_implementation="eager" if device == "cpu" else None,
                use_safetensors=True,
                trust_remote_code=False,
            )
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"The model in {weights} cannot be loaded: {str(error).splitlines()[0]}") from error
    if falcon:
        repair_attention(model)
    if config is not None:
        check_quantized(model)
        keep_gradients(model)
    if device == "cpu":
        _keep_freed_memory()
    return model


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next tensor instead of giving it back to the system.

    By default every large tensor on a CPU is mapped anew, page by page, and unmapped when freed, which made a training
    step a fifth to four fifths longer (SETUP.md). Called when all libraries are loaded; no effect on another C library.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-4, 0)  # M_MMAP_MAX: take large blocks from the heap, too
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: shrink the heap only beyond 2 GiB of free space
        mallopt(-2, 2**26)  # M_TOP_PAD: grow it by 64 MiB at a time


def load_tokenizer(weights: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of the model in `weights`, with a padding token that is not the end token and a chat template.

    With the end token as padding, collators that mask padding from the loss mask the end token too, and the model never
    learns to stop. Where the vocabulary has no padding token, another special token that training text does not hold
    takes the part, so that no embedding has to be added. Raises WeightsError if there is none in the folder.
    """
    folder = find_weights(str(weights), revision).path
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"The tokenizer in {weights} cannot be loaded: {str(error).splitlines()[0]}") from error
    complete(tokenizer)
    tokenizer.padding_side = "right"  # for training; shared.evaluation.generate pads on the left
    return tokenizer
