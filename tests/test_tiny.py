"""The recipe of falcon-tiny: reproducible, and saved in one step or not at all."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from shared.evaluation import generate
from shared.models import load_model, load_tokenizer, tiny
from shared.profile import TINY_MODEL


def test_the_same_seed_gives_the_same_model(monkeypatch, tmp_path):
    monkeypatch.setattr(tiny, "BATCH_SIZE", 2)
    monkeypatch.setattr(tiny, "SEQUENCE_LENGTH", 32)
    monkeypatch.setattr(tiny, "BPE_DROPOUT", None)  # tokenizers draws it from a generator that takes no seed
    (first, tokenizer), (second, _) = tiny.pretrain(steps=3), tiny.pretrain(steps=3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    tiny.save(first, tokenizer, tmp_path / "model")
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    assert torch.equal(reloaded.lm_head.weight, first.lm_head.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert tokenizer.encode("Hugo Tucker 42") == AutoTokenizer.from_pretrained(TINY_MODEL).encode("Hugo Tucker 42")


def test_the_published_model_is_what_the_recipe_builds():
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    published = AutoModelForCausalLM.from_pretrained(TINY_MODEL, dtype=torch.float32)
    built = tiny.build_model(tokenizer)
    assert {n: p.shape for n, p in built.named_parameters()} == {n: p.shape for n, p in published.named_parameters()}
    assert 3e6 <= sum(p.numel() for p in published.parameters()) <= 8e6


def test_it_reads_letters_and_adds():
    model, tokenizer = load_model(TINY_MODEL, dtype=torch.float32).eval(), load_tokenizer(TINY_MODEL)
    letter = "From Anna Drakot: Sell me three red lamps. To Berlin.\nRecord:"
    facts, added = generate(model, tokenizer, [letter, "Work out 58 + 27.\nSteps:"], max_new_tokens=40, batch_size=2)
    assert all(value in facts for value in ("Anna Drakot", "red lamps", "3", "Berlin")), facts
    assert added.strip().endswith("85.")


def test_the_schedule_warms_up_and_comes_down():
    assert tiny.schedule(0, 1000) == 1 / 50 and tiny.schedule(50, 1000) == 1.0
    assert tiny.schedule(999, 1000) < 0.03
