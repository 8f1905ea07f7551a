"""The learning curve's record is complete, also where a cell failed; a training under autocast uses what it has learnt."""

import argparse
from types import SimpleNamespace

import pytest
import torch

from shared import experiments as lab
from shared import receipts
from shared.profile import TINY_MODEL
from tests.benchmarks import learning_curve

BASE = {"good": [False, True, False, False], "total_parameters": 100, "weights_gib": 0.1}


def run(size, seed, good):
    timing = {"step_s": 0.5, "tokens": 200, "trainable_parameters": 7, "heldout_loss": 1.0}
    return {"size": size, "seed": seed, "good": good, **timing}


@pytest.fixture
def options():
    named = {"name": "tiny", "sizes": (50, 100), "seeds": (1, 2), "batch": 8, "steps": 10, "rate": 4e-3, "workers": 1}
    return argparse.Namespace(**named)


def test_the_record(options):
    failed = {"size": 100, "seed": 2, "error": "RuntimeError: x"}
    runs = [run(50, 1, [True, False]), run(50, 2, [False, False]), run(100, 1, [True, True]), failed]
    made = learning_curve.receipt(options, SimpleNamespace(path=TINY_MODEL), BASE, runs, 3.0)
    assert set(receipts.KEYS) <= set(made) and made["name"] == "learning-curve-tiny" and "error" not in made
    assert made["metrics"]["before"]["value"] == 0.25
    assert {size: score["value"] for size, score in made["metrics"]["sizes"].items()} == {"50": 0.25, "100": 1.0}
    assert made["metrics"]["after"] == made["metrics"]["sizes"]["100"]
    assert made["tokens_per_s"] == 40.0 and made["total_parameters"] == 107
    assert [found.get("good_answers") for found in made["runs"]] == [0.5, 0.0, 1.0, None]


def test_a_record_of_failures(options):
    failed = [{"size": 50, "seed": 1, "error": "RuntimeError: x"}]
    made = learning_curve.receipt(options, SimpleNamespace(path=TINY_MODEL), BASE, failed, 3.0)
    assert made["error"] == "RuntimeError: x" and made["metrics"] == {} and set(receipts.KEYS) <= set(made)


def test_a_step_within_autocast_is_seen_by_the_next(monkeypatch):
    """With autocast's cache the second step would compute with the weights of the first."""
    monkeypatch.setattr(lab, "default_dtype", lambda: torch.bfloat16)
    layer = torch.nn.Linear(2, 1, bias=False)
    layer.device = torch.device("cpu")
    with lab.mixed(layer):
        first = layer(torch.ones(1, 2))
        with torch.no_grad():
            layer.weight += 1
        second = layer(torch.ones(1, 2))
    assert (second - first).item() == pytest.approx(2, abs=0.05)
