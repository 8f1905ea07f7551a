"""Falcon's repairs and its fast training: exact beside the library's own code. On a GPU the same tests run there."""

import copy
import gc
import warnings
import weakref
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, FalconConfig, FalconForCausalLM, set_seed
from transformers.models.falcon import modeling_falcon
from trl import SFTConfig, SFTTrainer

from shared.models import falcon, load_model, load_tokenizer
from shared.models.falcon import PROJECTIONS, plain_linear_layers, repair_attention, restarts
from shared.models.fast_falcon import fast_training
from shared.models.parallel_block import compiled, expand_4bit
from shared.models.quantization import keep_gradients, nf4_config
from shared.profile import TINY_MODEL

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LORA = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 12, "target_modules": PROJECTIONS}


def build(dtype=torch.float32, quantize=False, lora=LORA, attention="sdpa"):
    """falcon-tiny with adapters whose B is not zero, in training mode."""
    with plain_linear_layers():
        model = AutoModelForCausalLM.from_pretrained(
            TINY_MODEL,
            dtype=dtype,
            device_map={"": DEVICE},
            attn_implementation=attention,
            quantization_config=nf4_config(dtype) if quantize else None,
        )
    keep_gradients(model)
    if lora:
        set_seed(1)
        model = get_peft_model(model, LoraConfig(**lora))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    return model.train()


def base(model):
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(3, 1500, shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE)


def batch(kind: str) -> dict:
    if kind == "one row, odd length":
        ids = tokens(1, 37)
        return {"input_ids": ids, "labels": ids}
    ids = tokens(3, 40)
    mask = torch.ones_like(ids)
    if kind == "padded on the right":
        mask[1, 31:] = 0
        mask[2, 1:] = 0
    if kind == "padded on the left":
        mask[1, :9] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def run(model, inputs: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits where there is a label, and the gradient of each trained parameter."""
    model.zero_grad()
    out = model(**inputs, use_cache=False)
    out.loss.backward()
    gradients = {name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None}
    return out.logits.detach().float()[inputs["labels"] != -100], gradients


def worst(got: dict, expected: dict) -> float:
    """The largest relative error of a gradient."""
    assert got.keys() == expected.keys()
    return max(float((got[name] - expected[name]).norm() / expected[name].norm()) for name in expected)


def test_the_defects_of_the_installed_transformers_are_found():
    assert falcon.attention_defects() == {"mask", "packing"}


def test_the_repair_steps_aside_where_upstream_has_repaired(monkeypatch):
    class Repaired(FalconForCausalLM):
        def __init__(self, config):
            super().__init__(config)
            falcon._attend_without_mask(self.transformer)

    monkeypatch.setattr(falcon, "FalconForCausalLM", Repaired)
    assert falcon.attention_defects() == set()
    model = build(lora=None)
    before = model.transformer.forward
    assert repair_attention(model).transformer.forward == before

    monkeypatch.delattr(modeling_falcon, "FalconLinear")
    with plain_linear_layers():
        assert not hasattr(modeling_falcon, "FalconLinear")


@pytest.mark.parametrize("kind", ["one row, odd length", "no padding", "padded on the right"])
@pytest.mark.parametrize("what", ["repair", "recompute", "keep", "two layers recomputed"])
@pytest.mark.parametrize("quantize", [False, True])
def test_logits_and_gradients_equal_those_of_the_stock_eager_path(kind, what, quantize):
    if DEVICE == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
    expected = run(build(quantize=quantize, attention="eager"), batch(kind))
    model = build(quantize=quantize)
    if what == "repair":
        repair_attention(base(model))
    else:
        recompute = {"recompute": True, "keep": False, "two layers recomputed": 2}[what]
        assert fast_training(base(model), recompute) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a pass in the library's own code would warn
        logits, gradients = run(model, batch(kind))
    assert (logits - expected[0]).abs().max() <= 2e-5 * expected[0].abs().max()
    assert worst(gradients, expected[1]) <= 1e-4


@pytest.mark.parametrize("reentrant", [False, True])
def test_the_repair_holds_when_checkpointing_runs_the_layers_again(reentrant):
    expected = run(build(attention="eager"), batch("padded on the right"))
    model = build()
    repair_attention(base(model))
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    logits, gradients = run(model, batch("padded on the right"))
    assert (logits - expected[0]).abs().max() <= 2e-5 * expected[0].abs().max()
    assert worst(gradients, expected[1]) <= 1e-4


@pytest.mark.parametrize("fast", [False, True])
def test_full_fine_tuning_has_the_stock_gradients(fast):
    inputs = batch("padded on the right")
    expected = run(build(lora=None, attention="eager"), inputs)
    model = build(lora=None)
    assert fast_training(model) is None if fast else repair_attention(model)
    logits, gradients = run(model, inputs)
    assert (logits - expected[0]).abs().max() <= 2e-5 * expected[0].abs().max()
    assert worst(gradients, expected[1]) <= 1e-4 and len(gradients) == 5 * 6 + 3


@pytest.mark.parametrize("what", ["stock", "repair", "fast"])
def test_packed_documents_do_not_see_each_other(what):
    lengths = [11, 1, 25]
    ids = tokens(1, sum(lengths))
    positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0).to(DEVICE)
    alone = build(attention="eager")
    with torch.no_grad():
        expected = torch.cat([alone(input_ids=part, use_cache=False).logits for part in ids.split(lengths, 1)], dim=1)
    model = build()
    if what == "repair":
        repair_attention(base(model))
    if what == "fast":
        fast_training(base(model))
    packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    error = (packed - expected).abs().max() / expected.abs().max()
    assert error > 1e-2 if what == "stock" else error < 2e-5


@pytest.mark.parametrize("kind", ["no padding", "padded on the right"])
def test_bfloat16_is_no_further_from_float32_than_the_stock_path_is(kind):
    exact = run(build(), batch(kind))
    stock = run(build(torch.bfloat16, attention="eager"), batch(kind))
    fast = build(torch.bfloat16)
    fast_training(base(fast))
    fast = run(fast, batch(kind))
    error = [float((logits - exact[0]).norm() / exact[0].norm()) for logits, _ in (stock, fast)]
    assert error[1] <= 1.2 * error[0] and error[1] < 0.02
    error = [worst(gradients, exact[1]) for _, gradients in (stock, fast)]
    assert error[1] <= 1.3 * error[0] and error[1] < 0.1


def test_adapters_in_float32_get_float32_gradients_from_bfloat16_arithmetic():
    model = build(torch.bfloat16, quantize=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    fast_training(base(model))
    _, gradients = run(model, batch("no padding"))
    assert {p.grad.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    exact = run(build(quantize=True), batch("no padding"))[1]
    assert worst(gradients, exact) < 0.1


@pytest.mark.parametrize("speed_up", [repair_attention, fast_training])
def test_padding_on_the_left_and_generation_run_in_the_stock_code(speed_up):
    stock, model = build().eval(), build().eval()
    speed_up(base(model))
    inputs = batch("padded on the left")
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, stock(**inputs).logits)
        prompt = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        warnings.simplefilter("error")  # padding is no packed document
        generated = [m.generate(**prompt, max_new_tokens=12, do_sample=False, pad_token_id=1) for m in (stock, model)]
    assert torch.equal(*generated)
    if speed_up is fast_training:
        with pytest.warns(UserWarning, match="library's own, slower code"):
            logits, gradients = run(model.train(), inputs)
        expected = run(stock.train(), inputs)
        assert torch.equal(logits, expected[0]) and worst(gradients, expected[1]) < 1e-6


@pytest.mark.parametrize("change", [{"use_dora": True}, {"lora_dropout": 0.5}])
def test_adapters_that_are_more_than_two_matrices_run_in_the_stock_code(change):
    model, stock = build(lora=LORA | change), build(lora=LORA | change)
    fast_training(base(model))
    with pytest.warns(UserWarning, match="library's own, slower code"):
        set_seed(3)
        logits, gradients = run(model, batch("no padding"))
    set_seed(3)
    expected = run(stock, batch("no padding"))
    assert torch.equal(logits, expected[0]) and worst(gradients, expected[1]) < 1e-6


def test_an_adapter_on_the_embedding_gets_its_gradient():
    lora = LORA | {"target_modules": [*PROJECTIONS, "word_embeddings"]}
    models = build(lora=lora, attention="eager"), build(lora=lora)
    for model in models:
        for name, parameter in model.named_parameters():
            if "lora_embedding_A" in name:
                set_seed(9)
                torch.nn.init.normal_(parameter, std=0.02)
    fast_training(base(models[1]))
    expected, found = (run(model, batch("no padding"))[1] for model in models)
    assert any("lora_embedding_B" in name for name in found) and worst(found, expected) <= 1e-4


def test_adapters_of_another_kind_run_in_the_stock_code():
    config = AdaLoraConfig(task_type="CAUSAL_LM", target_modules=PROJECTIONS, total_step=10)
    models = [get_peft_model(build(lora=None), config).train() for _ in range(2)]
    fast_training(base(models[1]))
    models[1].load_state_dict(models[0].state_dict())
    with pytest.warns(UserWarning, match="library's own, slower code"):
        logits = models[1](**batch("no padding"), use_cache=False).logits
    assert torch.equal(logits, models[0](**batch("no padding"), use_cache=False).logits)


@pytest.mark.parametrize("speed_up", [repair_attention, fast_training])
def test_a_copy_of_the_model_runs_its_own_weights(speed_up):
    model = build(lora=None)
    speed_up(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
    for kind in ("no padding", "padded on the left"):  # in the new code, and in the library's
        inputs = batch(kind)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert not torch.equal(twin(**inputs).logits, model(**inputs).logits)
            assert torch.equal(copy.deepcopy(model)(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("speed_up", [repair_attention, fast_training])
def test_the_model_is_freed_without_the_garbage_collector(speed_up):
    model = build(lora=None)
    speed_up(model)
    model(input_ids=tokens(1, 6), use_cache=False)
    weight = weakref.ref(model.transformer.h[0].self_attention.dense.weight)
    gc.collect()
    gc.disable()
    try:
        del model
        assert weight() is None
    finally:
        gc.enable()


def test_one_adapter_a_row_runs_in_the_stock_code():
    model = build().eval()
    model.add_adapter("other", LoraConfig(**LORA | {"init_lora_weights": False}))
    inputs = {"input_ids": tokens(2, 6), "adapter_names": ["default", "other"], "use_cache": False}
    with torch.no_grad():
        expected = model(**inputs).logits
        fast_training(base(model))
        assert torch.equal(model(**inputs).logits, expected)
        inputs["adapter_names"] = ["other", "default"]
        assert not torch.equal(model(**inputs).logits, expected)


def test_documents_packed_into_several_rows_are_not_kept_apart_and_a_warning_says_so():
    model = repair_attention(build(lora=None))
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]] * 2).to(DEVICE)
    with pytest.warns(UserWarning, match="packed documents see each other"):
        model(input_ids=tokens(2, 6), position_ids=positions, use_cache=False)


def test_adapters_can_be_switched_disabled_and_merged_afterwards():
    models = build(attention="eager"), build()
    fast_training(base(models[1]))
    inputs = batch("no padding")

    def logits() -> list[torch.Tensor]:
        return [model(**inputs, use_cache=False).logits.detach() for model in models]

    def same(pair) -> bool:
        return bool((pair[0] - pair[1]).abs().max() <= 2e-5 * pair[0].abs().max())

    first = logits()
    for model in models:
        set_seed(5)
        model.add_adapter("other", LoraConfig(**LORA | {"r": 2, "init_lora_weights": False}))
        model.set_adapter("other")
    second = logits()
    with models[0].disable_adapter(), models[1].disable_adapter():
        without = logits()
    for model in models:
        model.set_adapter("default")
        model.merge_adapter()
    merged = logits()
    assert all(map(same, (first, second, without, merged)))
    assert not same((first[0], second[0])) and not same((first[0], without[0]))
    assert (merged[0] - first[0]).abs().max() < 1e-3


@pytest.mark.parametrize(
    "change", [{"alibi": True}, {"new_decoder_architecture": True, "num_kv_heads": 2}, {"bias": True}]
)
def test_other_falcons_keep_their_own_layers_and_say_so(change):
    config = FalconConfig(vocab_size=64, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, **change)
    set_seed(0)
    model = FalconForCausalLM._from_config(config, attn_implementation="sdpa").train()
    ids = torch.randint(0, 64, (2, 9))
    expected = model(input_ids=ids, use_cache=False).logits
    assert next(iter(change)) in fast_training(model)
    repaired = repair_attention(model)(input_ids=ids, use_cache=False).logits
    assert torch.allclose(repaired, expected, atol=1e-5)


def test_a_loaded_model_trains_in_the_fast_layers_under_the_trainer(tmp_path):
    model = load_model(TINY_MODEL, quantize="nf4")
    assert fast_training(model, recompute=1) is None
    arguments = SFTConfig(tmp_path, max_steps=2, bf16=False, save_strategy="no", report_to=[], disable_tqdm=True)
    examples = Dataset.from_list([{"prompt": "What is 2 + 3?", "completion": " 5" * n} for n in range(1, 9)])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="fast_training")
        SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=examples,
            processing_class=load_tokenizer(TINY_MODEL),
            peft_config=LoraConfig(**LORA),
        ).train()


def test_a_model_of_another_kind_is_named():
    assert fast_training(SimpleNamespace(config=SimpleNamespace(model_type="llama"))) == "llama has its own layers"


def test_only_the_input_of_each_layer_is_offered_to_activation_offloading():
    model = build()
    fast_training(base(model))
    inputs, packed = batch("no padding"), []

    def pack(tensor):
        packed.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = base(model).transformer(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
        before = len(packed)
        hidden.sum().backward()
    layers, shape = model.config.num_hidden_layers, (*inputs["input_ids"].shape, model.config.hidden_size)
    assert len(packed) == before and packed.count(shape) == layers + 1  # one more for the norm at the end


@pytest.mark.parametrize("shape", [(64, 64), (384, 256), (100, 200)])
def test_4_bit_weights_are_expanded_as_bitsandbytes_does(shape):
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    set_seed(4)
    weight = torch.randn(shape, dtype=torch.bfloat16, device=DEVICE)
    weight[0, 0] = 40.0
    packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    inner = state.state2
    scales = (state.absmax, inner.code, inner.absmax, state.offset, state.blocksize, inner.blocksize)
    found = expand_4bit(packed, state.code, *scales)
    if DEVICE == "cuda":
        assert torch.equal(compiled(expand_4bit, "cuda", dynamic=False)(packed, state.code, *scales), found)
    assert torch.equal(found.view(shape), dequantize_4bit(packed, state))


def test_padding_behind_a_cache_is_no_packed_document():
    positions, mask = torch.tensor([[0, 0, 5, 6], [5, 6, 7, 8]]), torch.tensor([[1] * 5 + [0, 0, 1, 1], [1] * 9])
    assert not restarts(positions, mask)  # five tokens in the cache, then two of padding
    assert restarts(torch.tensor([[5, 6, 0, 1]]), torch.ones(1, 9, dtype=torch.long))
    assert restarts(torch.tensor([[0, 1, 0, 1]]), torch.ones(1, 4, dtype=torch.long))
