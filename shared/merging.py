"""A merged model as one GGUF file for llama.cpp: weights in 16 bit under llama.cpp's names, configuration and tokenizer.

Source of names and layout: conversion/llama.py and conversion/falcon.py of llama.cpp (MIT), whose convert_hf_to_gguf.py
knows every architecture. This one knows two, and needs nothing but the package `gguf`, which the course has anyway.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from gguf import MODEL_ARCH, GGUFWriter, LlamaFileType, TokenType, get_tensor_name_map
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from shared.checkpoints import DiskFull
from shared.errors import CourseError
from shared.models.quantization import quantized_layers

ARCHITECTURES = {"llama": MODEL_ARCH.LLAMA, "falcon": MODEL_ARCH.FALCON}
# How the text is cut before the byte pairs are merged: the steps in the tokenizer -> llama.cpp's name for them.
PRE_TOKENIZERS = {("Digits", "ByteLevel"): "smollm", ("Punctuation", "ByteLevel", "Digits", "Split"): "falcon"}


class GGUFError(CourseError):
    """A model that export_gguf cannot write."""


def export_gguf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> int:
    """Write `model` and `tokenizer` to the GGUF file `path`, all or nothing; returns its size in bytes.

    Matrices become float16, vectors float32. One tensor at a time is copied. Raises GGUFError for a model or tokenizer of
    another kind, a model in 4 bit, and weights beyond float16; DiskFull where the file does not fit.
    """
    if problem := unexportable(model, tokenizer):
        raise GGUFError(f"{path.name} was not written: {problem}. llama.cpp's convert_hf_to_gguf.py may know it.")
    writer = GGUFWriter(None, model.config.model_type)
    _write_configuration(writer, model.config)
    _write_tokenizer(writer, tokenizer, model.config.vocab_size)
    for name, tensor in _tensors(model):
        kind = np.dtype(np.float32 if tensor.ndim == 1 else np.float16)
        writer.add_tensor_info(name, tensor.shape, kind, tensor.numel() * kind.itemsize)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        writer.write_header_to_file(unfinished)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, tensor in _tensors(model):
            array = tensor.to("cpu", torch.float32 if tensor.ndim == 1 else torch.float16)
            if not array.isfinite().all():
                raise GGUFError(f"{path.name} was not written: {name} holds NaN, or values beyond float16's 65504.")
            writer.write_tensor_data(array.contiguous().numpy())
        writer.close()
        os.replace(unfinished, path)
    except OSError as error:
        raise DiskFull(f"{path.name} could not be written: {error}. Free some space, or choose another disk.") from None
    finally:
        writer.close()
        unfinished.unlink(missing_ok=True)
    return path.stat().st_size


def unexportable(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Why `export_gguf` cannot write this model and tokenizer; "" if it can."""
    config = model.config
    if config.model_type not in ARCHITECTURES:
        return f"the architecture {config.model_type} is none of {', '.join(ARCHITECTURES)}"
    if quantized_layers(model):
        return "the model is in 4 bit of bitsandbytes: dequantise it first"
    plain = {"attention_bias": False, "mlp_bias": False}
    if config.model_type == "falcon":
        plain = {"alibi": False, "new_decoder_architecture": False, "parallel_attn": True, "multi_query": True}
        plain |= {"bias": False}
    odd = [f"{name}={getattr(config, name)}" for name, value in plain.items() if getattr(config, name) != value]
    if config.rope_parameters["rope_type"] != "default":
        odd.append(f"rope_type={config.rope_parameters['rope_type']}")
    if odd:
        return f"this {config.model_type} has {', '.join(odd)}"
    if _pre_tokenizer(tokenizer) is None or json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] != "BPE":
        return "the tokenizer is none of the two kinds known here"
    return ""


def _write_configuration(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    writer.add_name(Path(config.name_or_path).name)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_vocab_size(config.vocab_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.model_type == "falcon":
        writer.add_tensor_data_layout("jploski")  # queries, then keys, then values: with one key head, as they are
        writer.add_feed_forward_length(config.ffn_hidden_size)
        writer.add_head_count_kv(1)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_dimension_count(config.head_dim or config.hidden_size // config.num_attention_heads)


def _write_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
    vocabulary = {number: token for token, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    kinds = {n: TokenType.CONTROL if token.special else TokenType.USER_DEFINED for n, token in added.items()}
    writer.add_tokenizer_model("gpt2")  # byte pairs
    writer.add_tokenizer_pre(_pre_tokenizer(tokenizer))
    writer.add_token_list([vocabulary.get(n, f"[PAD{n}]") for n in range(size)])
    writer.add_token_types(
        [kinds.get(n, TokenType.NORMAL) if n in vocabulary else TokenType.UNUSED for n in range(size)]
    )
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    for name in ("bos", "eos", "pad"):
        if (number := getattr(tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id)
    writer.add_add_space_prefix(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _pre_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str | None:
    steps = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    return PRE_TOKENIZERS.get(tuple(step["type"] for step in steps.get("pretokenizers", [steps]) if step))


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and value of each tensor as llama.cpp has them; a tied output matrix is left out."""
    config = model.config
    names = get_tensor_name_map(ARCHITECTURES[config.model_type], config.num_hidden_layers)
    heads = {"attn_q": config.num_attention_heads, "attn_k": getattr(config, "num_key_value_heads", None)}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise GGUFError(f"llama.cpp has no place for {name}: export_gguf takes merged models, without adapters.")
        part = theirs.split(".")[-2]
        yield theirs, _interleave(tensor, heads[part]) if part in heads else tensor


def _interleave(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a Llama's query or key matrix (heads x size, inputs) in llama.cpp's order: rotated pairs side by side."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(weight.shape)
