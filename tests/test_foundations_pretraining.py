"""The hand-written parts of Pretraining-a-Tiny-Falcon are the libraries', and its own checks notice a part that is not."""

import json
import math

import pytest
import torch

from shared import receipts
from shared.exercises import SOLVED, check_training_days
from tests.benchmarks import scaling
from tests.lessons import chapters, printed, with_mistake

NOTEBOOK = "01-Foundations/Pretraining-a-Tiny-Falcon.ipynb"
CONSTANTS = ("tokenizer = ", "BETAS", "EPSILON", "WEIGHT_DECAY", "CLIP")


def lesson(first: str = "## The loss", behind: str = "## Baseline") -> list[str]:
    """The chapters that build the parts: they need no training."""
    return chapters(NOTEBOOK, first, behind, CONSTANTS)


def checked_lines(text: str) -> list[str]:
    """The lines that are the same on every machine: all but the one that measures rounding."""
    return [line for line in text.splitlines() if not line.startswith("mask alone")]


def test_the_lesson_holds(capsys):
    text = printed(lesson(), capsys)
    assert "mask and positions: as one document at a time: True" in text
    assert "positions alone: as one document at a time: False" in text
    assert "tensors are torch.optim.AdamW's: True" in text
    assert "positions [0, 1, 2, 0, 1, 0, 1]" in text


MUTATIONS = {
    "loss not shifted": ("logits[:, :-1], ids[:, 1:, None]", "logits[:, :-1], ids[:, :-1, None]"),
    "loss shifted by two": ("logits[:, :-1], ids[:, 1:, None]", "logits[:, :-2], ids[:, 2:, None]"),
    "loss without its norm": ("scores - scores.logsumexp(-1, keepdim=True)", "scores"),
    "no end token": ("stream += [*row, tokenizer.eos_token_id]", "stream += row"),
    "end token in front": ("[*row, tokenizer.eos_token_id]\n    rows", "[tokenizer.eos_token_id, *row]\n    rows"),
    "end token to the next document": ("return ends.cumsum(1) - ends", "return ends.cumsum(1)"),
    "numbers not counted on": ("return ends.cumsum(1) - ends", "return ends"),
    "positions not begun anew": ("return place - (place * begins).cummax(1).values", "return place"),
    "positions from one": ("return place - (place * begins)", "return 1 + place - (place * begins)"),
    "mask that sees ahead": ("causal & (numbers[:, :, None]", "(numbers[:, :, None]"),
    "mask that sees all documents before": ("numbers[:, :, None] == numbers", "numbers[:, :, None] >= numbers"),
    "no bias correction": ('m = state["m"] / (1 - beta1**step)', 'm = state["m"]'),
    "no bias correction of the squares": ('v = state["v"] / (1 - beta2**step)', 'v = state["v"]'),
    "bias correction off by one": ("(1 - beta2**step)", "(1 - beta2 ** (step + 1))"),
    "averages swapped": (
        "gradient, (beta1, beta2) = weight.grad, BETAS",
        "gradient, (beta2, beta1) = weight.grad, BETAS",
    ),
    "decay inside the gradient": (
        "gradient, (beta1, beta2) = weight.grad, BETAS",
        "gradient, (beta1, beta2) = weight.grad + WEIGHT_DECAY * weight, BETAS",
    ),
    "no decay": ("weight *= 1 - rate * WEIGHT_DECAY", "pass"),
    "decay without the rate": ("weight *= 1 - rate * WEIGHT_DECAY", "weight *= 1 - WEIGHT_DECAY"),
    "epsilon under the root": ("(v.sqrt() + EPSILON)", "(v + EPSILON).sqrt()"),
    "cosine without the offset": ("math.pi * (step - warmup) / (steps - warmup)", "math.pi * step / steps"),
    "cosine too long": ("/ (steps - warmup)))", "/ steps))"),
    "warm-up off by one": ("return step / warmup", "return (step + 1) / warmup"),
    "clipped tensor by tensor": (
        "        weight.grad *= factor",
        "        weight.grad *= min(1.0, limit / (weight.grad.norm().item() + 1e-6))",
    ),
    "clipped by value": ("        weight.grad *= factor", "        weight.grad.clamp_(-limit, limit)"),
    "norm not rooted": (
        "norm = math.sqrt(sum(weight.grad.pow(2).sum().item() for weight in weights))",
        "norm = sum(weight.grad.pow(2).sum().item() for weight in weights)",
    ),
    "short gradients stretched": ("factor = min(1.0, limit / (norm + 1e-6))", "factor = limit / (norm + 1e-6)"),
}


@pytest.fixture(scope="module")
def stored():
    """What the lesson prints as it stands."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        names: dict = {}
        for source in lesson():
            exec(source, names)
    return checked_lines(out.getvalue())


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_variant_is_noticed(name, stored, capsys):
    wrong = with_mistake(lesson(), *MUTATIONS[name])
    try:
        found = checked_lines(printed(wrong, capsys))
    except (AssertionError, RuntimeError):  # RuntimeError: tensors whose shapes do not fit
        return
    assert found != stored, "no check has noticed"


def test_days_of_training():
    assert check_training_days(lambda n, d, gpus, flops, used: 6 * n * d / (gpus * flops * used) / 86_400) == SOLVED


PLAN = scaling.Plan(steps=(1, 2, 4), seeds=(1,), batch_size=2, length=16)


def test_the_plan_of_the_scaling_study():
    runs = scaling.runs_of(scaling.Plan())
    parts = [run.part for run in runs]
    assert (parts.count("scaling"), parts.count("rate"), parts.count("adamw")) == (36, 12, 12)  # times three seeds
    assert len(set(runs)) == len(runs) and runs[0].steps == 900
    assert scaling.Run("rate", 64, 2, 300, 2, 0.5) in runs and scaling.Run("adamw", 256, 5, 300, 3, 6e-3) in runs


def test_a_training_of_the_scaling_study(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "HELDOUT_ROWS", 4)
    for seed, rows in ((1, 8), (scaling.HELDOUT_SEED, 4)):
        scaling.write_tokens(tmp_path, seed, PLAN, rows)
    threads = torch.get_num_threads()
    run = scaling.measure(scaling.Run("scaling", 64, 2, 4, 1), PLAN, tmp_path, "cpu")
    torch.set_num_threads(threads)
    assert run["parameters"] == 2 * (64 * 192 + 9 * 64**2 + 2 * 64) == 98_560
    assert run["tokens"] == 4 * 2 * 16 and set(run["along"]) == {"1", "2"}
    assert 5 < run["heldout_loss"] < run["along"]["1"] < 7.6  # ln 1536 is 7.34
    for deadline, error in ((math.inf, "FileNotFoundError"), (0, "TimeoutError: not begun")):
        run = scaling.Run("scaling", 64, 2, 4, seed=99)
        failed = scaling.attempt(scaling.measure, deadline, run, PLAN, tmp_path, "cpu")
        assert failed["seed"] == 99 and failed["error"].startswith(error)


def test_the_record_of_the_scaling_study_is_whole():
    record = json.loads((receipts.ROOT / "01-Foundations/results/scaling.json").read_text(encoding="utf-8"))
    cells = {(run["parameters"], run["tokens"]) for run in record["runs"] if run["part"] == "scaling"}
    assert len(cells) == 12 and not record["failed"]
    assert len(record["runs"]) == len(scaling.runs_of(scaling.QUICK if record["quick"] else scaling.Plan()))
