"""Verdicts: intervals by hand, and each claim with an interval on either side of each border."""

import math
from dataclasses import asdict, replace

import pytest

from shared import rules
from shared.experiments import Setting

BASE = Setting(learning_rate=1e-3, steps=60, batch_size=16)
M = math.log1p(rules.MARGIN)


def runs(losses: dict[Setting, list[float]]) -> list[dict]:
    return [
        {"settings": asdict(setting), "seed": seed, "heldout_loss": loss}
        for setting, values in losses.items()
        for seed, loss in enumerate(values)
    ]


def test_interval():
    found = rules.mean_interval([0.1, 0.2, 0.3])  # deviation 0.1, half 4.303 * 0.1 / sqrt(3) = 0.2484
    assert (found.mean, found.n) == (pytest.approx(0.2), 3)
    assert found.low == pytest.approx(-0.0484, abs=1e-4) and found.high == pytest.approx(0.4484, abs=1e-4)
    assert rules.mean_interval([0.0, 1.0]).high == pytest.approx(0.5 + 12.706 * 0.5)  # two seeds say little
    assert rules.mean_interval([0.3]).high == math.inf


@pytest.mark.parametrize(
    ("claim", "low", "high", "expected"),
    [
        ("better", -0.5, -0.01, "yes"),
        ("better", -0.5, 0.01, "not decided"),
        ("better", -M / 2, 0.2, "no"),  # not even the margin better
        ("better", 0.1, 0.2, "no"),
        ("better", -math.inf, math.inf, "not decided"),
        ("no worse", -9, M / 2, "yes"),
        ("no worse", 0.01, M / 2, "yes"),  # worse, but by less than the margin
        ("no worse", 0.01, 0.5, "no"),
        ("no worse", -0.01, 0.5, "not decided"),
        ("same", -M / 2, M / 2, "yes"),
        ("same", -0.5, M / 2, "not decided"),
        ("same", -0.5, -0.01, "no"),
        ("same", 0.01, 0.5, "no"),
    ],
)
def test_verdict(claim, low, high, expected):
    assert rules.verdict(claim, rules.Interval((low + high) / 2, low, high, 3)) == expected


def test_pairs_by_seed():
    ratio = rules.log_ratio({1: 2.0, 2: 20.0, 3: 1.0}, {1: 1.0, 2: 10.0})  # seed 3 has no partner
    assert ratio.n == 2 and ratio.mean == pytest.approx(math.log(2))
    assert ratio.low == pytest.approx(ratio.high)  # the seeds differ tenfold, the pairs not at all
    assert rules.log_ratio({1: 2.0}, {2: 1.0}) is None


def test_optimum():
    grid = {rate: math.exp(math.log(rate / 2e-3) ** 2) for rate in (5e-4, 1e-3, 4e-3, 8e-3)}  # log loss: a parabola
    assert rules.optimum(grid) == pytest.approx(2e-3)
    assert rules.optimum({1e-3: 1.0, 2e-3: 0.5, 4e-3: 0.2}) is None  # the best stands at the end


def test_the_plan_changes_little_and_has_each_setting_once():
    plan = rules.plan(BASE, attention_rank=43)
    assert list(plan) == ["rank", "alpha", "targets", "learning-rate", "dropout", "data"]
    names = [name for part in plan.values() for name in part]
    assert len(set(names)) == len(names)
    assert all(len(set(part.values())) == len(part) for part in plan.values())
    for setting in {setting for part in plan.values() for setting in part.values()}:
        changed = {key for key, value in asdict(setting).items() if asdict(BASE)[key] != value}
        assert len(changed - {"alpha"}) <= 2, setting
    assert plan["alpha"]["rank 128, rsLoRA"].scale == pytest.approx(8 / math.sqrt(128))
    assert plan["data"]["epochs 4"].steps * 16 == 4 * plan["data"]["epochs 4"].examples
    assert plan["targets"]["attention, as many parameters"].rank == 43


def test_a_base_that_learns_at_the_rules_own_rate():
    slow = replace(BASE, learning_rate=2e-4)
    found = {rule.text: rule for rule in rules.rules(slow, 43)}
    assert found["2e-4 is as good as any learning rate"].first == (slow,)
    longer = found["with four times the steps 2e-4 is good enough"]
    assert [s.learning_rate for s in longer.first + longer.second] == [2e-4, 1e-3]


def test_each_rule_compares_what_it_names():
    plan = rules.plan(BASE, 43)
    found = {rule.text: rule for rule in rules.rules(BASE, 43)}
    rule = found["rank 128: rsLoRA is better than a fixed alpha"]
    assert rule.first == (plan["alpha"]["rank 128, rsLoRA"],) and rule.second == (
        plan["alpha"]["rank 128, alpha kept"],
    )
    rule = found["rank 128: a fixed alpha at 8 times the rate is the same as 2r"]
    assert rule.first[0].learning_rate == 8 * BASE.learning_rate and rule.first[0].scale * 8 == rule.second[0].scale
    rule = found["LoRA takes ten times the learning rate of full fine-tuning"]
    assert {s.targets for s in rule.first} == {"everything"} and {s.targets for s in rule.second} == {"all"}
    rule = found["2e-4 is as good as any learning rate"]
    assert [s.learning_rate for s in rule.first] == [2e-4] and 2e-4 not in [s.learning_rate for s in rule.second]
    rule = found["with four times the steps 2e-4 is good enough"]
    assert [s.learning_rate for s in rule.first + rule.second] == [2e-4, 1e-3] and rule.first[0].steps == 240
    rule = found["more than one epoch helps"]
    assert [s.steps for s in rule.first] == [40, 80, 160] and [s.steps for s in rule.second] == [20]
    rule = found["eight epochs are no worse than two"]
    assert [s.steps for s in rule.first + rule.second] == [160, 40]


def test_judge():
    rule = rules.Rule("text", "source", "better", (BASE,), (replace(BASE, rank=1), replace(BASE, rank=4)))
    found = rules.judge(rule, runs({BASE: [1, 1, 1], rule.second[0]: [2, 2.1, 1.9], rule.second[1]: [9, 9, 9]}))
    assert found["verdict"] == "yes" and found["second"] == rule.second[0]  # the best of the others
    assert found["measured"].startswith("loss 0.50 (0.4")
    assert rules.judge(rule, runs({BASE: [1, 1, 1]}))["verdict"] == "not run"
    one = rules.judge(rule, runs({BASE: [1], rule.second[0]: [2]}))
    assert one["verdict"] == "not decided" and "one seed" in one["measured"]
    failed = [{"settings": asdict(BASE), "seed": 5, "error": "out of memory"}]
    assert rules.judge(rule, failed)["verdict"] == "not run"


@pytest.mark.parametrize(("times", "expected"), [(10, "yes"), (2, "no")])
def test_ten_times(times, expected):
    rule = next(rule for rule in rules.rules(BASE, 43) if rule.claim == "ten times")

    def bowl(rate, lowest):
        return math.exp(math.log(rate / lowest) ** 2)

    losses = {s: [bowl(s.learning_rate, 2e-4 * f) for f in (1, 1.05, 0.95)] for s in rule.first}
    losses |= {s: [bowl(s.learning_rate, 2e-4 * times * f) for f in (1, 0.95, 1.05)] for s in rule.second}
    found = rules.judge(rule, runs(losses))
    assert found["verdict"] == expected and math.exp(found["interval"].mean) == pytest.approx(times, rel=0.02)


def test_the_best_of_a_grid_needs_a_grid():
    rule = next(rule for rule in rules.rules(BASE, 43) if rule.text.startswith("LoRA is no worse"))
    few = {rule.first[0]: [2, 2, 2], rule.first[1]: [1, 1, 1], rule.second[0]: [3, 3, 3]}
    assert rules.judge(rule, runs(few))["verdict"] == "not run"
    falling = {s: [1 / s.learning_rate] * 3 for s in rule.first + rule.second}
    found = rules.judge(rule, runs(falling))
    assert found["verdict"] == "not decided" and "end of a grid" in found["measured"]
