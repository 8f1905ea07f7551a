"""Loading: the two guards, each with the defect it guards against, and errors a reader can act on."""

import json
import shutil

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from transformers import AutoModelForCausalLM

from shared.errors import QuantizationError, WeightsError
from shared.models import PROJECTIONS, fast_training, fetch_weights, load_model, load_tokenizer, quantized_layers
from shared.models.falcon import plain_linear_layers
from shared.models.quantization import check_quantized, expanded_weights, keep_gradients, nf4_config, shardable
from shared.profile import TINY_MODEL, load_profile

LAYERS = json.loads((TINY_MODEL / "config.json").read_text())["num_hidden_layers"]


def stock_model():
    return AutoModelForCausalLM.from_pretrained(
        TINY_MODEL, quantization_config=nf4_config(torch.float32), device_map={"": "cpu"}
    )


def test_stock_libraries_leave_falcon_unquantised_and_the_guard_raises():
    model = stock_model()
    assert model.is_loaded_in_4bit  # what it says
    assert quantized_layers(model) == []  # what it is
    with pytest.raises(QuantizationError, match=f"only 0 of {4 * LAYERS} linear layers are 4-bit"):
        check_quantized(model)


def test_load_model_quantises_every_projection():
    model = load_model(TINY_MODEL, quantize="nf4")
    assert len(quantized_layers(model)) == 4 * LAYERS == check_quantized(model)
    names = {
        name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module in set(quantized_layers(model))
    }
    assert names == set(PROJECTIONS)
    assert all(layer.quant_state.quant_type == "nf4" and layer.quant_state.nested for layer in quantized_layers(model))


def test_under_fsdp_4_bit_weights_are_stored_as_floats_with_the_same_bits(monkeypatch):
    asked = nf4_config(torch.bfloat16)
    assert shardable(asked) is asked  # not under FSDP
    packed = load_model(TINY_MODEL, quantize=asked)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    divided = load_model(TINY_MODEL, quantize=asked)
    assert asked.bnb_4bit_quant_storage == torch.uint8  # the notebook's own configuration is left alone
    for one, other in zip(quantized_layers(packed), quantized_layers(divided), strict=True):
        assert (one.weight.dtype, other.weight.dtype) == (torch.uint8, torch.bfloat16)
        assert torch.equal(one.weight.flatten(), other.weight.view(torch.uint8).flatten())
    assert "FSDP gathers a layer's weights" in fast_training(divided)


def test_expanded_weights_compute_the_same_and_go_away():
    model, tokens = load_model(TINY_MODEL, quantize="nf4", dtype=torch.float32).eval(), torch.arange(2, 40)[None]
    with torch.inference_mode():
        packed = model(tokens).logits
        with expanded_weights(model):
            assert all("forward" in vars(layer) for layer in quantized_layers(model))
            torch.testing.assert_close(model(tokens).logits, packed, atol=1e-4, rtol=0)
        assert torch.equal(model(tokens).logits, packed)
    assert not any("forward" in vars(layer) for layer in quantized_layers(model))
    assert first_gradient(model) > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU load_model takes the library's choice")
def test_the_attention_for_cpus_computes_the_same():
    chosen = load_model(TINY_MODEL, dtype=torch.float32).eval()
    fused = AutoModelForCausalLM.from_pretrained(TINY_MODEL, dtype=torch.float32, attn_implementation="sdpa").eval()
    assert (chosen.config._attn_implementation, fused.config._attn_implementation) == ("eager", "sdpa")
    tokens = torch.arange(2, 80).view(2, 39)
    mask = torch.ones_like(tokens)
    mask[1, 30:] = 0  # padding on the right, as in training
    with torch.inference_mode():
        logits = [model(tokens, attention_mask=mask).logits[mask.bool()] for model in (chosen, fused)]
    torch.testing.assert_close(*logits, atol=1e-4, rtol=0)


def test_one_layer_left_out_is_noticed():
    model = load_model(TINY_MODEL, quantize="nf4")
    model.transformer.h[1].self_attention.dense = torch.nn.Linear(256, 256, bias=False)
    with pytest.raises(QuantizationError, match=r"first one left out: transformer\.h\.1\.self_attention\.dense"):
        check_quantized(model)


def test_plain_linear_layers_compute_the_same_and_step_aside(monkeypatch):
    from transformers.models.falcon import modeling_falcon

    original = modeling_falcon.FalconLinear
    tokens = torch.arange(2, 40)[None]
    stock = AutoModelForCausalLM.from_pretrained(TINY_MODEL, dtype=torch.float32)
    repaired = load_model(TINY_MODEL, dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(repaired(tokens).logits, stock(tokens).logits, atol=1e-5, rtol=0)
    assert modeling_falcon.FalconLinear is original  # put back
    monkeypatch.delattr(modeling_falcon, "FalconLinear")  # as a release without the class would be
    with plain_linear_layers():
        assert not hasattr(modeling_falcon, "FalconLinear")


def first_gradient(model) -> float:
    """Size of the gradient that reaches the embedding, after an evaluation."""
    tokens = torch.arange(2, 40)[None]
    with torch.no_grad():
        model.eval()(input_ids=tokens)
    model.train()
    embedded = model.get_input_embeddings()(tokens).detach().requires_grad_()
    model(inputs_embeds=embedded, labels=tokens).loss.backward()
    return 0.0 if embedded.grad is None else embedded.grad.norm().item()


def quantised_without_the_guard():
    with plain_linear_layers():
        return stock_model()


def test_gradients_reach_the_first_layer_after_an_evaluation():
    unguarded, guarded = quantised_without_the_guard(), quantised_without_the_guard()
    keep_gradients(guarded)
    reference = first_gradient(load_model(TINY_MODEL, dtype=torch.float32))
    assert first_gradient(guarded) == pytest.approx(reference, rel=0.5)
    assert first_gradient(load_model(TINY_MODEL, quantize="nf4", dtype=torch.float32)) == pytest.approx(
        reference, rel=0.5
    )
    if has_avx512bf16():  # the defect needs such a CPU; the residual stream alone carries what is left
        assert abs(first_gradient(unguarded) - reference) > 0.5 * reference
    else:
        assert first_gradient(unguarded) == pytest.approx(reference, rel=0.5)


def test_padding_is_not_the_end_token_and_a_template_is_there():
    tokenizer = load_tokenizer(TINY_MODEL)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], tokenize=False
    )
    assert text == "User: Hi\nAssistant: Hello<|endoftext|>\n"
    question = [{"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True) == "User: Hi\nAssistant:"


def test_a_tokenizer_without_padding_token_gets_one_it_already_has(tmp_path):
    folder = shutil.copytree(TINY_MODEL, tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["pad_token"] = config["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_token == "<|pad|>"
    assert len(tokenizer) == 1536


def test_a_model_saved_in_four_bits_says_how_it_is_loaded(tmp_path):
    model = load_model(TINY_MODEL, quantize="nf4")
    model.save_pretrained(tmp_path / "four-bit")
    with pytest.raises(WeightsError, match=r'four-bit was saved quantised: load it with quantize="nf4"'):
        load_model(tmp_path / "four-bit")
    assert len(quantized_layers(load_model(tmp_path / "four-bit", quantize="nf4"))) == 4 * LAYERS


def test_errors_name_the_place_and_the_remedy(tmp_path):
    with pytest.raises(WeightsError, match=r"There is no folder .*set MODEL to a folder"):
        load_model("./nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(WeightsError, match=str(empty)):
        load_model(empty)
    broken = shutil.copytree(TINY_MODEL, tmp_path / "broken")
    (broken / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(WeightsError, match=r"broken cannot be loaded"):
        load_model(broken)
    with pytest.raises(ValueError, match='expected "nf4"'):
        load_model(TINY_MODEL, quantize="int3")


def test_fetch_weights_fills_in_the_folder(monkeypatch):
    profile = fetch_weights(load_profile("X", {"PROFILE": "tiny"}))
    assert (profile.weights, profile.weights_source) == (str(TINY_MODEL), "folder")


def test_where_small_cannot_be_had_tiny_runs_with_tinys_settings(monkeypatch):
    from shared.models import loading
    from shared.models.weights import Weights

    monkeypatch.setattr(
        loading, "find_weights", lambda *_: Weights(str(TINY_MODEL), "fallback", "falcon-tiny runs instead.")
    )
    profile = fetch_weights(load_profile("X", {"PROFILE": "small", "SEED": "3"}))
    assert (profile.name, profile.batch_size, profile.seed) == ("tiny", 8, 3)
    assert profile.note == "falcon-tiny runs instead."
    two = {"PROFILE": "small", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MAX_STEPS": "10"}
    profile = fetch_weights(load_profile("X", two))  # one of two processes, and fewer steps
    assert (profile.name, profile.batch_size, profile.max_steps) == ("tiny", 4, 10)
