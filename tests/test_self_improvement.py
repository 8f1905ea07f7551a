"""The benchmark of self-improvement: what it keeps, counts and makes of its runs, by hand."""

import argparse
import json
from types import SimpleNamespace

import pytest

from shared import receipts
from shared.sampling import Sample
from tests.benchmarks import self_improvement as bench

RECORDS = [
    {"prompt": "Q: What is 47 + 38?\nA:", "answer": 85, "kind": "2 digits"},
    {"prompt": "Q: What is 8 + 5?\nA:", "answer": 13, "kind": "1 digit"},
]
ROWS = [
    [Sample(text, 1, -1.0) for text in (" 75.", " 7 + 8 = 15. So 47 + 38 = 85.", " 85.", " 85.")],
    [Sample(" 12.", 1, -1.0)] * 4,
]
SETTING = bench.Setting("nowhere", "additions", **bench.SETTINGS["additions"])


def found(seed: int) -> dict:
    right = {"warm-up": [False] * 100, "STaR, round 1": [True] * 50 + [False] * 50, "GRPO": [True] * 100}
    spent = {"operations": {"STaR, round 1": 300 * seed, "GRPO": 600}, "steps": 4, "total_parameters": 10}
    return {"seed": seed, "right": right, **spent, "trainable_parameters": 2, "weights_gib": 0.1}


def test_what_is_kept_is_the_first_right_sample_of_a_problem():
    assert [example["completion"] for example in bench.keep(ROWS, RECORDS)] == [" 7 + 8 = 15. So 47 + 38 = 85."]


def test_a_round_is_described_by_kind():
    told = bench.describe(ROWS, RECORDS, bench.keep(ROWS, RECORDS))
    assert told["right"] == {"1 digit": 0.0, "2 digits": 0.75} and told["solved"] == {"1 digit": 0.0, "2 digits": 1.0}
    assert told["different"] == (3 / 4 + 1 / 4) / 2
    assert (told["kept"], told["kept with a false sum"], told["kept without a sum"]) == (1, 0, 0)


@pytest.mark.parametrize("data", bench.SETTINGS)
def test_no_held_out_problem_is_in_the_pool_or_the_warm_up(data):
    pool, heldout, examples = bench.problems(bench.Setting("nowhere", data, **bench.SETTINGS[data]), seed=1)
    seen = {record["prompt"] for record in pool} | {example["prompt"] for example in examples}
    assert len(pool) == 96 and len(heldout) == 200
    assert not seen & {record["prompt"] for record in heldout}
    if data == "additions":
        assert not {record["prompt"] for record in pool} & {example["prompt"] for example in examples}


def test_grpo_stops_with_the_first_step_over_the_budget():
    budget, control = bench.Budget(6000), SimpleNamespace(should_training_stop=False)
    budget.on_log(None, None, control, logs={"num_tokens": 999})
    assert not control.should_training_stop
    budget.on_log(None, None, control, logs={"num_tokens": 1000})  # drawn and trained on: 6 operations each
    assert control.should_training_stop


def test_the_summary_is_over_seeds_and_keeps_failures_out():
    runs = [found(1), found(2), {"seed": 3, "error": "ValueError: no"}]
    result = bench.summary(runs)
    assert (result["metrics"]["before"]["value"], result["metrics"]["after"]["value"]) == (0.0, 0.5)
    assert result["scores"]["GRPO"]["value"] == 1.0
    assert result["operations"] == {"STaR, round 1": 4500, "GRPO": 6000}
    assert bench.compact(runs[0])["right"]["STaR, round 1"] == 0.5 and bench.compact(runs[2]) == runs[2]
    assert bench.summary(runs[2:])["metrics"] == {}


def test_the_record_is_complete_also_where_all_failed():
    args = argparse.Namespace(name="tiny", model="somewhere", workers=1, quick=True)
    weights = SimpleNamespace(source="folder", path="some/falcon-tiny")
    for runs in ([found(1)], [{"seed": 1, "error": "ValueError: no"}]):
        receipt = dict.fromkeys(receipts.KEYS) | bench.record(args, SETTING, weights, runs)
        assert receipt["name"] == "self-improvement-tiny" and receipt["model"] == "falcon-tiny"
        assert "nowhere" not in json.dumps(receipt["setting"])
    assert receipt["error"] == "ValueError: no"


def test_a_seed_that_fails_is_a_result(capsys):
    result = bench.run(SETTING, 5)
    assert result["seed"] == 5 and "Error" in result["error"]
