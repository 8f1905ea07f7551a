"""Short trainings on falcon-tiny: the same batches for all settings, the base left as it was."""

import argparse
import math
import queue
import time
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from shared import evaluation
from shared import experiments as lab
from shared.data import ORDERS_HELDOUT, ORDERS_TRAIN, read_jsonl
from shared.errors import AdapterError
from shared.models import load_model, load_tokenizer
from shared.peft_training import make_batches
from shared.profile import TINY_MODEL
from tests.benchmarks import lora_hyperparameters as benchmark

SETTING = lab.Setting(rank=2, alpha=4, learning_rate=4e-3, steps=2, batch_size=2)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY_MODEL)


@pytest.fixture(scope="module")
def model():
    return load_model(TINY_MODEL, dtype=torch.float32)


def test_scale():
    assert lab.Setting(rank=16, alpha=32).scale == 2
    assert lab.Setting(rank=128, alpha=32).scale == 0.25
    assert lab.Setting(rank=16, alpha=8, rslora=True).scale == 2
    assert lab.Setting(rank=64, alpha=16, rslora=True).scale == 2  # and not 0.25


def test_layers_and_their_parameters(model):
    kinds = {t: {name.rsplit(".")[-1] for name in lab.linear_layers(model, t)} for t in ("all", "attention", "mlp")}
    assert kinds["attention"] == {"query_key_value", "dense"} and kinds["mlp"] == {"dense_h_to_4h", "dense_4h_to_h"}
    assert kinds["all"] == kinds["attention"] | kinds["mlp"]  # and not the output layer
    hidden, heads, layers = model.config.hidden_size, model.config.num_attention_heads, model.config.num_hidden_layers
    fused = hidden + 2 * hidden // heads  # one key and one value head
    attention, mlp = layers * (hidden + fused + 2 * hidden), layers * 10 * hidden
    assert lab.parameters_per_rank(model, "attention") == attention
    assert lab.parameters_per_rank(model, "all") == attention + mlp
    assert lab.matching_rank(model, "attention", 16) == round(16 * (attention + mlp) / attention) > 16


def test_a_model_without_known_layers_gets_a_sentence():
    other = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=16))  # Conv1D, no Linear
    with pytest.raises(AdapterError, match="attention"):
        lab.linear_layers(other, "attention")


def test_settings_of_one_seed_see_the_same_batches(tokenizer):
    examples = [{"prompt": f"{number}", "completion": " a"} for number in range(10)]
    setting = lab.Setting(steps=5, batch_size=2)

    def order(setting: lab.Setting, seed: int) -> list[list[str]]:
        batches = lab.make_batches(tokenizer, examples, setting, seed, 256)
        return [[tokenizer.decode(ids).split()[0] for ids in batch["input_ids"]] for batch in batches]

    batches = order(setting, seed=1)
    assert batches == order(replace(setting, rank=4, learning_rate=1.0), seed=1)
    assert batches != order(setting, seed=2)
    assert sorted(name for batch in batches for name in batch) == [str(number) for number in range(10)]  # each once
    few = order(replace(setting, examples=2, steps=6), seed=1)
    assert all(len(set(batch)) == 2 for batch in few)  # both before either comes again
    assert len({name for batch in few for name in batch}) == 2


def test_loss_is_that_of_the_perplexity(model, tokenizer):
    examples = list(read_jsonl(ORDERS_HELDOUT))[:5]
    found = lab.heldout_loss(model, make_batches(tokenizer, examples, 2, max_length=256))
    with lab.mixed(model):
        expected = evaluation.perplexity(model, tokenizer, examples, 256).value
    assert found == pytest.approx(math.log(expected), rel=0.02)
    assert lab.mean_loss([(math.nan, 1)]) == lab.mean_loss([(1e9, 2)]) == lab.WORST
    assert lab.mean_loss([(1.0, 1), (5.0, 2)]) == 2.0  # by tokens, and not 1.75


def test_runs_leave_the_base_as_it_was_and_count_what_they_train(model, tokenizer):
    train = list(read_jsonl(ORDERS_TRAIN))[:12]
    heldout = make_batches(tokenizer, train[:2], 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def run(setting: lab.Setting) -> dict:
        return lab.run(model, lab.make_batches(tokenizer, train, setting, 1, 256), heldout, setting, seed=1)

    lora, again = run(SETTING), run(SETTING)
    full = run(replace(SETTING, targets="everything", learning_rate=1e-3))
    assert lora["trainable_parameters"] == 2 * lab.parameters_per_rank(model, "all")
    assert full["trainable_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert lora["heldout_loss"] == pytest.approx(again["heldout_loss"], rel=1e-3)
    assert lora["settings"]["rank"] == 2 and len(lora["history"]) == 2
    untrained = lab.heldout_loss(model, heldout)
    assert full["heldout_loss"] < untrained and lora["heldout_loss"] != pytest.approx(untrained, abs=1e-4)
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_a_run_that_finds_the_shared_memory_taken_is_tried_again(monkeypatch):
    tasks, results, trained = queue.Queue(), queue.Queue(), []

    def train(base, batches, setting, seed):
        trained.append(setting)
        if len(trained) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return base, {"history": [], "seed": seed}

    monkeypatch.setattr(lab, "train", train)
    monkeypatch.setattr(lab, "release", lambda model: None)
    monkeypatch.setattr(benchmark.time, "sleep", lambda seconds: None)
    for setting in ("set_num_threads", "set_float32_matmul_precision"):  # would stay for the tests that follow
        monkeypatch.setattr(torch, setting, lambda value: None)
    options = argparse.Namespace(task="support", heldout=2, generate=0, deadline=time.time() + 60)
    tasks.put((SETTING, 1, 0))
    benchmark.work(0, str(TINY_MODEL), options, tasks, results)
    _, found = results.get_nowait()
    assert trained == [SETTING] * 3 and found["seed"] == 1 and "error" not in found and results.empty()
