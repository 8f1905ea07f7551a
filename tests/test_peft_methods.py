"""Each method trains what it should, starts from the unchanged model, and is scored as it answers; the benchmark's rules."""

import math

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from peft import PrefixTuningConfig, get_peft_model
from transformers import LlamaConfig, set_seed

from shared import evaluation, peft_training, plots, receipts
from shared.data import ORDERS_TRAIN, read_jsonl
from shared.errors import DataError
from shared.models import load_model, load_tokenizer
from shared.peft_methods import (
    METHODS,
    MethodError,
    adapter_config,
    add_bottlenecks,
    apply_method,
    frequent_tokens,
    kv_shape,
)
from shared.peft_training import answer_f1, answer_losses, make_batches, seeds_difference, seeds_score, train
from shared.profile import TINY_MODEL
from tests.benchmarks import peft_methods as benchmark

HIDDEN, LAYERS, RANK = 256, 5, 16
LINEAR = [(256, 384), (256, 256), (256, 1024), (1024, 256)]  # of one block of falcon-tiny, inputs and outputs
EXPECTED = {  # trainable parameters, by hand
    "lora": LAYERS * sum(RANK * (n + m) for n, m in LINEAR),
    "dora": LAYERS * sum(RANK * (n + m) + m for n, m in LINEAR),
    "adalora": LAYERS * sum(24 * (n + m + 1) for n, m in LINEAR),
    "vera": LAYERS * sum(256 + m for _, m in LINEAR),
    "oft": LAYERS * sum(n // 32 * (32 * 31 // 2) for n, _ in LINEAR),
    "boft": LAYERS * sum(n // 32 * 32**2 + m for n, m in LINEAR),
    "ia3": LAYERS * (384 + 1024),
    "prefix": 20 * LAYERS * 2 * 64,
    "prompt": 20 * HIDDEN,
    "lntuning": LAYERS * 2 * HIDDEN + 2 * HIDDEN,
    "tokens": 64 * HIDDEN,
    "bottleneck": LAYERS * (2 * HIDDEN * 64 + 64 + HIDDEN),
    "full": 3_836_928,
}


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY_MODEL)


@pytest.fixture(scope="module")
def examples():
    return [{key: row[key] for key in ("prompt", "completion")} for row in read_jsonl(ORDERS_TRAIN)[:70]]


@pytest.fixture(scope="module")
def batches(tokenizer, examples):
    return make_batches(tokenizer, examples, 4, 3, seed=0)


def applied(name, batches, dtype=torch.float32, steps=10):
    set_seed(0)
    return apply_method(name, load_model(TINY_MODEL, dtype=dtype), batches, steps)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("qlora", "eva")])
def test_each_method_trains_and_only_what_it_should(name, batches):
    model = applied(name, batches)
    if name in EXPECTED:
        assert receipts.parameter_counts(model)["trainable_parameters"] == EXPECTED[name]
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    losses = train(name, model, batches, METHODS[name].rates[0])["losses"]
    assert len(losses) == 3 and all(map(math.isfinite, losses))
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)
    assert any(not torch.equal(p, before[n]) for n, p in model.named_parameters() if n in before)


@pytest.mark.parametrize("name", ["lora", "dora", "oft", "ia3", "lntuning", "prefix", "prompt", "tokens", "bottleneck"])
def test_a_base_in_bfloat16_is_trained_in_float32(name, batches):
    model = applied(name, batches, torch.bfloat16)
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert all(map(math.isfinite, train(name, model, batches, 1e-3)["losses"]))
    assert all(math.isfinite(loss) for loss, _ in answer_losses(model, batches))


@pytest.mark.parametrize("name", ["lora", "dora", "vera", "oft", "ia3"])
def test_answers_of_the_merged_model_are_its_own(name, batches, tokenizer, examples):
    model = applied(name, batches)
    train(name, model, batches * 3, METHODS[name].rates[-1])
    apart = answer_losses(model, batches)
    model.eval()
    model.merge_adapter()
    together = answer_losses(model, batches)
    assert [loss for loss, _ in together] == pytest.approx([loss for loss, _ in apart], rel=1e-3)
    model.unmerge_adapter()
    assert len(answer_f1(name, model, tokenizer, examples[:3], 3)) == 3


def test_batches_hold_the_answer_and_the_end_token_as_labels(tokenizer, examples):
    (batch,) = make_batches(tokenizer, examples[:2], 2)
    for row, example in enumerate(examples[:2]):
        labels = [token for token in batch["labels"][row].tolist() if token != -100]
        assert labels == [*tokenizer(example["completion"])["input_ids"], tokenizer.eos_token_id]
        length = int(batch["attention_mask"][row].sum())
        assert batch["input_ids"][row, :length].tolist()[-len(labels) :] == labels
        assert set(batch["labels"][row, length:].tolist()) <= {-100}


def test_the_order_is_the_seeds_and_each_epoch_has_every_example(tokenizer, examples):
    def rows(seed, count=5):
        made = make_batches(tokenizer, examples[:10], 4, count, seed)
        return [
            tuple(ids[mask.bool()].tolist())
            for b in made
            for ids, mask in zip(b["input_ids"], b["attention_mask"], strict=True)
        ]

    assert rows(1) == rows(1) != rows(2)
    assert len(set(rows(1)[:10])) == 10 and set(rows(1)[10:]) == set(rows(1)[:10])
    with_prefix = make_batches(tokenizer, examples[:1], 1, prefix="Write JSON.\n\n")[0]
    plain = make_batches(tokenizer, examples[:1], 1)[0]
    assert (with_prefix["labels"] >= 0).sum() == (plain["labels"] >= 0).sum()


def test_losses_are_the_models_own_also_behind_virtual_tokens(batches):
    for name in ("lora", "prompt", "prefix"):
        model = applied(name, batches).eval()
        batch = batches[0]
        with torch.no_grad():
            expected = model(**batch).loss.item()
        found = answer_losses(model, [batch])
        assert sum(loss for loss, _ in found) / sum(n for _, n in found) == pytest.approx(expected, rel=1e-4)


def test_padding_does_not_part_the_virtual_tokens_from_the_message(batches, tokenizer, examples):
    model = applied("prompt", batches)
    train("prompt", model, batches * 4, 3e-2)
    prompts = sorted((example["prompt"] for example in examples[:6]), key=len)
    alone = [
        evaluation.generate(model, tokenizer, [prompt], 12, 1, first_line_only=True)[0].strip() for prompt in prompts
    ]
    mended = [text.strip() for text in peft_training.generate_behind_prompt(model, tokenizer, prompts, 12, 6)]
    padded = [text.strip() for text in evaluation.generate(model, tokenizer, prompts, 12, 6, first_line_only=True)]
    assert sum(a == b for a, b in zip(alone, mended, strict=True)) >= 5
    assert alone != padded  # the defect itself: where it is gone, generate_behind_prompt can go, too


def test_prefix_tuning_needs_to_be_told_of_falcons_key_heads(batches):
    model = load_model(TINY_MODEL, dtype=torch.float32)
    assert kv_shape(model.config) == {"num_attention_heads": 1, "token_dim": 64}
    assert kv_shape(LlamaConfig(hidden_size=576, num_attention_heads=9, num_key_value_heads=3)) == {}
    stock = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=20))
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        stock(**batches[0])


def test_frequent_tokens_counts_labels_only():
    batch = {"labels": torch.tensor([[-100, 5, 5, 7], [-100, -100, 7, 3]])}
    assert frequent_tokens([batch], 2) == [5, 7]
    assert frequent_tokens([batch]) == [3, 5, 7]


def test_what_cannot_be_done_gets_a_sentence(batches):
    with pytest.raises(MethodError, match=r"No method is called lorra: take one of lora, qlora"):
        adapter_config("lorra", load_model(TINY_MODEL, dtype=torch.float32), [], 10)
    with pytest.raises(MethodError, match="no module called mlp"):
        add_bottlenecks(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_a_limit_that_leaves_no_answer_gets_a_sentence():
    examples = [{"prompt": "Message: Hi.\nJSON:", "completion": ' {"a": 1}'}]
    with pytest.raises(DataError, match="leaves a token to train within 3 tokens: shorten the prompts"):
        make_batches(load_tokenizer(TINY_MODEL), examples, 1, max_length=3)


def test_perplexity_is_over_tokens_not_over_examples():
    score = evaluation.perplexity_score([(math.log(2) * 3, 3), (math.log(8) * 1, 1)])
    assert score.value == pytest.approx(math.exp((3 * math.log(2) + math.log(8)) / 4))
    assert score.low <= score.value <= score.high and not score.higher_is_better


def test_the_interval_over_seeds_is_wider_where_seeds_differ():
    alike = seeds_score("exact match", [[1.0] * 50 + [0.0] * 50] * 3)
    apart = seeds_score("exact match", [[1.0] * 100, [1.0] * 50 + [0.0] * 50, [0.0] * 100])
    assert alike.value == apart.value == 0.5 and alike.n == 100
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)
    perfect = seeds_score("exact match", [[1.0] * 200] * 3)
    assert (perfect.low, perfect.high) == evaluation.wilson_interval(200, 200)
    part = seeds_score("exact match", [[1.0, None, 0.0, None], [1.0, 1.0, None, None]])
    assert part.value == 0.75 and part.n == 3  # three of four that count are right; the fourth example counts nowhere


def test_a_difference_over_seeds_is_paired():
    first = [[True, False] * 50, [False, True] * 50]
    better = [[hit or place % 10 in (1, 2) for place, hit in enumerate(run)] for run in first]  # ten more in each
    found = seeds_difference(first, better)
    assert found["difference"] == pytest.approx(0.1) and 0 < found["low"] < 0.1 < found["high"]
    assert seeds_difference(better, first)["difference"] == -found["difference"]
    assert seeds_difference(first, first) == {"difference": 0.0, "low": 0.0, "high": 0.0}
    shifted = seeds_difference([[True] * 50 + [False] * 50], [[False] * 50 + [True] * 50])
    assert shifted["low"] < 0 < shifted["high"]
    with pytest.raises(ValueError, match="same ones"):
        seeds_difference(first, first[:1])


def test_a_sweep_goes_on_beyond_its_ends_at_most_twice():
    listed = (3e-4, 1e-3, 3e-3)
    assert benchmark.next_rate({3e-4: 1.0, 1e-3: 0.5, 3e-3: 0.7}, listed) is None
    assert benchmark.next_rate({3e-4: 1.0, 1e-3: 0.8, 3e-3: 0.7}, listed) == 1e-2
    assert benchmark.next_rate({3e-4: 1.0, 1e-3: 0.8, 3e-3: 0.7, 1e-2: 0.6}, listed) == 3e-2
    assert benchmark.next_rate({3e-4: 1.0, 1e-3: 0.8, 3e-3: 0.7, 1e-2: 0.6, 3e-2: 0.5}, listed) is None
    assert benchmark.next_rate({3e-4: 0.1, 1e-3: 0.8, 3e-3: math.inf}, listed) == 1e-4
    assert benchmark.next_rate({3e-4: 1.0, 1e-3: 0.8, 3e-3: math.inf}, listed) is None
    assert benchmark.next_rate(dict.fromkeys(listed, math.inf), listed) is None


def test_the_benchmark_leaves_complete_receipts_also_of_failures(tmp_path):
    setting = benchmark.Setting(str(TINY_MODEL), "falcon-tiny", 2, 2, 3, str(tmp_path))
    timing = benchmark.time_alone(setting, "ia3")
    run = benchmark.train_once(setting, "ia3", 1e-2, 1, True)
    progress = benchmark.Progress(timing=timing, sweep={1e-2: run["validation"]}, runs={1: run, 2: run}, rate=1e-2)
    made = benchmark.receipt(setting, "ia3", progress, [0.0, 1.0, 0.5])
    assert set(receipts.KEYS) <= set(made) and made["name"] == "methods-ia3" and "error" not in made
    assert made["metrics"]["before"]["value"] == pytest.approx(1 / 3) and made["seed"] == [1, 2]
    assert (
        made["trainable_parameters"] == EXPECTED["ia3"]
        and made["step_s"] > 0
        and made["adapter_bytes"] > 4 * EXPECTED["ia3"]
    )
    failed = benchmark.receipt(setting, "ia3", benchmark.Progress(error="ValueError: no"), [0.0])
    assert set(receipts.KEYS) <= set(failed) and failed["error"] == "ValueError: no"


def test_names_in_the_plot_do_not_cover_each_other():
    points = {f"method {i}": (4e6 + 1e5 * (i % 3), 0.97 + 0.003 * i, 0.9, 1.0) for i in range(8)}
    axes = plots.quality_against(points, "trained parameters").axes[0]
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
    assert {text.get_text() for text in axes.texts} == set(points)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
