"""The GRPO notebook's loss by hand is TRL's, its checks notice one that is not, and what its benchmark tells of its runs."""

import argparse
import contextlib
import io
import json
from types import SimpleNamespace

import pytest
import torch

from shared import receipts
from tests.benchmarks import grpo
from tests.lessons import chapters, printed, with_mistake

NOTEBOOK = "04-Reasoning-Tuning/GRPO-with-Verifiable-Rewards.ipynb"


@pytest.fixture(scope="module")
def lesson(tmp_path_factory) -> tuple[dict, list[str]]:
    """What stands before the comparison, run: one generation of falcon-tiny; and the comparison's two cells."""
    cells = chapters(NOTEBOOK, "## TRL's loss, by hand", "## A new skill")
    options = {"output_dir": tmp_path_factory.mktemp("grpo"), "report_to": [], "disable_tqdm": True, "bf16": False}
    options |= {"gradient_checkpointing": False, "save_strategy": "no", "dataloader_pin_memory": False}
    names = {"common": lambda steps, rate: options | {"max_steps": steps, "learning_rate": rate}}
    names["profile"] = SimpleNamespace(seed=1)
    split = next(index for index, cell in enumerate(cells) if "def loss_by_hand" in cell)
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in cells[:split]:
            exec(cell, names)
    probe, kept = names["probe"], []
    forward = probe._get_per_token_logps_and_entropies

    def once(*args, **kwargs):  # all that is compared is computed from one forward pass
        kept.extend([] if kept else [forward(*args, **kwargs)])
        return kept[0]

    probe._get_per_token_logps_and_entropies = once
    return names, cells[split : split + 2]


def test_the_loss_by_hand_is_trls(lesson, capsys):
    names, cells = lesson
    text = printed(cells, capsys, **names)
    assert text.count("True") == 9 and "False" not in text


MISTAKES = {
    "standard deviation of a population": (
        "groups.std(1, keepdim=True)",
        "groups.std(1, keepdim=True, unbiased=False)",
    ),
    "nothing added to the deviation": (" + 1e-4)", ")"),
    "mean of the batch": ("groups.mean(1, keepdim=True)", "groups.mean()"),
    "mean over tokens, not completions": ("(token_loss.sum(1) / mask.sum(1)).mean()", "token_loss.sum() / mask.sum()"),
    "tokens of the batch for those of the step": ('"dapo": batch["num_items_in_batch"]', '"dapo": mask.sum()'),
    "the longest completion for the room": ("len(mask) * 60", "mask.numel() / 1.1"),
    "clipped only": (
        "torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)",
        "(ratio.clamp(0.8, 1.2) * advantage)",
    ),
    "not clipped": ("ratio.clamp(0.8, 1.2) * advantage", "ratio * advantage"),
    "no ratio on the KL": ("(d.exp() - d - 1) * ratio", "(d.exp() - d - 1)"),
    "padding counts": ("* ratio) * mask", "* ratio)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_shows(mistake, lesson, capsys):
    names, cells = lesson
    assert "False" in printed(with_mistake(cells, *MISTAKES[mistake]), capsys, **names)


def toy() -> list[str]:
    cells = chapters(NOTEBOOK, "## From the policy gradient", "## Configuration")
    return [cell for cell in cells if "def learn" not in cell]  # the learning curves: for the eye


def test_the_toy_holds(capsys):
    text = printed(toy(), capsys, profile=SimpleNamespace(seed=2))
    assert text.count("True") == 8 and "False" not in text


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("torch.eye(5)[chosen] - policy[:, None]", "torch.eye(5)[chosen]"),
        ("(r.sum(1, keepdim=True) - r)", "r.sum(1, keepdim=True)"),
        ("torch.min(ratio * advantage, ratio.clamp", "torch.max(ratio * advantage, ratio.clamp"),
    ],
)
def test_a_mistake_in_the_toy_shows(right, wrong, capsys):
    assert "False" in printed(with_mistake(toy(), right, wrong), capsys, profile=SimpleNamespace(seed=2))


def test_skills_are_counted_over_seeds():
    one = {"greedy before": [False, False], "solved of k": [0, 3], "greedy after stage 1": [True, True]}
    two = {"greedy before": [False, True], "solved of k": [0, 0], "greedy after stage 1": [False, True]}
    found = grpo.skills([{"sets": {"3 digits": one}}, {"sets": {"3 digits": two}}])["3 digits"]
    assert found["pass"]["value"] == 0.25 and found["before"]["value"] == 0.25 and found["after"]["value"] == 0.75
    assert (found["new"]["value"], found["new"]["n"]) == (0.5, 1)  # one problem, for both seeds; of the other none
    assert found["never solved"] == 0.5
    solved = {"greedy before": [True], "solved of k": [2], "greedy after stage 1": [True]}
    assert grpo.skills([{"sets": {"2 digits": solved}}])["2 digits"]["new"] is None
    assert grpo.skills([]) == {}


def test_a_run_in_the_record():
    run = {"run": "base", "seed": 1, "right": [True, False], "steps": 3}
    assert grpo.compact(run) == {"run": "base", "seed": 1, "right": 0.5, "steps": 3}
    run = {"run": "new skill", "sets": {"3 digits": {"solved of k": [0, 5], "greedy before": [False, False]}}}
    assert grpo.compact(run)["sets"] == {"3 digits": {"solved of k": 0.5, "greedy before": 0.0}}
    failed = {"run": "base", "seed": 2, "error": "ValueError: no"}
    assert grpo.compact(failed) == failed and grpo.score([failed]) is None
    assert grpo.score([run | {"right": [True, True]}, failed])["value"] == 1.0


def test_curves_keep_what_was_logged():
    logs = [{"reward": 0.5, "loss": 0.1, "kl": None}, {"train_runtime": 3.0}, {"reward": 1.0, "loss": -0.2}]
    assert grpo.curves(logs) == {"reward": [0.5, 1.0], "KL": [0.0, 0.0], "loss": [0.1, -0.2]}


def test_settings_of_the_parts():
    given = {
        "data": "stories",
        "problems": 300,
        "samples": 64,
        "per_generation": 4,
        "steps": None,
        "rate": None,
        "quick": False,
        "warm_steps": None,
        "replay": 0.3,
    }
    main = grpo.settings(argparse.Namespace(part="main", **given), "folder")
    assert (main.steps, main.problems, main.rate) == (300, 300, 1e-4)
    quick = grpo.settings(
        argparse.Namespace(part="new-skill", **given | {"data": "additions", "quick": True}), "folder"
    )
    assert (quick.steps, quick.problems, quick.completions, quick.rate) == (4, 20, 16, 2e-4)


@pytest.mark.parametrize("replay", [0.0, 0.3])
def test_the_stages_share_out_all_steps_and_problems(replay):
    stages = grpo.stages(replay)
    assert sum(part for _, part in stages) == pytest.approx(1)
    for shares, _ in stages:
        assert sum(shares.values()) == pytest.approx(1) and shares[2] == replay


def test_the_adapter_gets_32_bit():
    layer = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    layer.bias.requires_grad_(False)
    grpo.in_float32(layer)
    assert (layer.weight.dtype, layer.bias.dtype) == (torch.float32, torch.bfloat16)


def test_the_record_holds_what_the_page_says_of_the_new_skill():
    folder = receipts.ROOT / "04-Reasoning-Tuning/results"
    for name in ("tiny", "tiny-no-replay"):
        record = json.loads((folder / f"grpo-new-skill-{name}.json").read_text())
        assert all(
            run["stage_steps"] == [[225, 75], [225, 75]] for run in record["runs"]
        )  # done, planned: none was cut
        three, four = record["sets"]["3 digits"], record["sets"]["4 digits"]
        assert three["after"]["low"] > three["pass"]["high"], "more is solved than sampling reached"
        assert four["after"]["value"] < 0.02 and four["after"]["low"] <= four["pass"]["value"], "four digits: nothing"
