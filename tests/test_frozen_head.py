"""The loss over a frozen output matrix equals TRL's, and is left to TRL where it would not. On a GPU the same runs there."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig, SFTTrainer
from trl.trainer import utils

from shared.models import frozen_head, load_model, load_tokenizer
from shared.models.frozen_head import Choice, FrozenHead, use_frozen_head
from shared.profile import TINY_MODEL

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OUTPUTS = ("log_probs", "entropy", "is_top1")


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Choice.original)
    monkeypatch.setattr(frozen_head, "TOKENS", 16)


def example(tokens: int, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    set_seed(tokens)
    hidden, weight = torch.randn(tokens, 48), torch.randn(700, 48) * 0.3
    weight[500] = weight[20]  # two tokens that are always equally likely
    targets = torch.randint(0, 700, (tokens,))
    if tokens > 20:
        targets[:20] = (hidden[:20] @ weight.T).argmax(dim=1)
        targets[3], targets[4] = 20, 500
        hidden[3] = hidden[4] = weight[20] * 9
    return hidden.to(DEVICE, dtype).requires_grad_(), weight.to(DEVICE, dtype), targets.to(DEVICE)


def gradient(log_p: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    set_seed(7)
    return torch.autograd.grad((log_p * torch.rand(len(log_p)).to(DEVICE)).sum(), hidden)[0]


@pytest.mark.parametrize("tokens", [1, 16, 17, 50])
def test_values_and_gradient_equal_those_of_trl(tokens):
    if DEVICE == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
    hidden, weight, targets = example(tokens)
    expected = Choice.original.apply(hidden, weight, None, targets, 1.0, 256, None, 1.0, OUTPUTS)
    found = FrozenHead.apply(hidden, weight, targets)
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert torch.allclose(found[1], expected[1], atol=1e-4)
    assert torch.equal(found[2], expected[4])
    if tokens > 20:
        assert found[2][:4].all() and not found[2][4]  # of two equally likely tokens the first is the top one
    assert torch.allclose(gradient(found[0], hidden), gradient(expected[0], hidden), atol=1e-5)


def test_bfloat16_is_about_as_near_to_float32_as_trl_is():
    """Once more rounded than TRL's: the gradient of one token's loss, before it is weighted."""
    hidden, weight, targets = example(50, torch.bfloat16)
    exact_hidden = hidden.detach().float().requires_grad_()
    exact = gradient(FrozenHead.apply(exact_hidden, weight.float(), targets)[0], exact_hidden)
    theirs = Choice.original.apply(hidden, weight, None, targets, 1.0, 256, None, 1.0, OUTPUTS)[0]
    ours = FrozenHead.apply(hidden, weight, targets)[0]
    errors = [float((gradient(log_p, hidden).float() - exact).norm() / exact.norm()) for log_p in (ours, theirs)]
    assert errors[0] <= 1.4 * errors[1] and errors[0] < 0.01


def test_no_tokens_and_no_gradient():
    hidden, weight, targets = example(5)
    log_p, entropy, is_top = FrozenHead.apply(hidden[:0], weight, targets[:0])
    assert log_p.shape == entropy.shape == is_top.shape == (0,)
    log_p.sum().backward()
    with torch.no_grad():
        assert FrozenHead.apply(hidden, weight, targets)[0].shape == (5,)


@pytest.mark.parametrize("change", ["trained", "temperature", "softcap", "scale", "bias", "autocast", "outputs"])
def test_what_it_cannot_do_is_left_to_trl(change, monkeypatch):
    def fail(*arguments):
        raise AssertionError("FrozenHead must not run here")

    monkeypatch.setattr(FrozenHead, "apply", fail)
    hidden, weight, targets = example(5)
    values = {
        "bias": torch.zeros(len(weight), device=DEVICE) if change == "bias" else None,
        "temperature": 0.7 if change == "temperature" else 1.0,
        "softcap": 30.0 if change == "softcap" else None,
        "scale": 2.0 if change == "scale" else 1.0,
    }
    outputs = (*OUTPUTS, "mean_logits") if change == "outputs" else OUTPUTS
    weight.requires_grad_(change == "trained")
    call = (hidden, weight, values["bias"], targets, values["temperature"], 256, values["softcap"], values["scale"])
    with torch.autocast(DEVICE, torch.bfloat16, enabled=change == "autocast"):
        found, expected = Choice.apply(*call, outputs), Choice.original.apply(*call, outputs)
    assert torch.equal(found[0], expected[0])


def test_an_entropy_that_is_trained_on_is_refused():
    _, entropy, _ = FrozenHead.apply(*example(5))
    with pytest.raises(NotImplementedError, match="train without fast_training"):
        entropy.sum().backward()


def test_the_trainer_learns_the_same(tmp_path):
    """In float32: the same losses, and after three steps the same adapters."""
    examples = Dataset.from_list([{"prompt": "What is 2 + 3?", "completion": " 5" * n} for n in range(1, 9)])
    losses, adapters, entropies = [], [], []
    for frozen in (False, True):
        if frozen:
            use_frozen_head()
        arguments = SFTConfig(
            tmp_path, max_steps=3, bf16=False, logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True
        )
        set_seed(1)
        trainer = SFTTrainer(
            model=load_model(TINY_MODEL, dtype=torch.float32),
            args=arguments,
            train_dataset=examples,
            processing_class=load_tokenizer(TINY_MODEL),
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=4),
        )
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        entropies.append([entry["entropy"] for entry in trainer.state.log_history if "loss" in entry])
        adapters.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters() if p.requires_grad]))
    assert len(losses[0]) == 3 and losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert entropies[1] == pytest.approx(entropies[0], rel=1e-3)
    assert torch.allclose(*adapters, atol=2e-5)
