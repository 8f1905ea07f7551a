"""The benchmark of preference methods: what it tells of its runs, by hand."""

import json
from statistics import fmean

import pytest
from peft import LoraConfig, get_peft_model

from shared.data import read_jsonl
from shared.judging import RULES
from shared.models import load_model
from shared.profile import ROOT, TINY_MODEL
from tests.benchmarks.preference_methods import METHODS, TRAIN, Setting, build, compared, single_answers, table

PAIRS = [{"prompt": f"p{n}", "chosen": f"c{n}", "rejected": f"r{n}"} for n in range(20)]
RECORD = {
    "prompt": "p",
    "chosen": " Sorry, Ada.",
    "facts": {"name": "Ada", "item": "cup", "problem": "lost", "wish": "new one", "order": None},
    "others": [],
}


def run(answers, chosen, rejected, **more):
    rules = dict.fromkeys(RULES, 0.5)
    pairs = {"chosen": chosen, "rejected": rejected}
    return {
        "good": [True, False],
        "rules": rules,
        "words": 3.0,
        "answers": answers,
        "accuracy": 0.5,
        "pairs": pairs,
    } | more


def test_single_answers_are_mixed_and_keep_their_labels():
    rows = single_answers(PAIRS, seed=1)
    assert len(rows) == 40 and sum(row["label"] for row in rows) == 20
    assert all(
        (row["completion"][0] == "c") == row["label"] and row["completion"][1:] == row["prompt"][1:] for row in rows
    )
    assert 4 < sum(row["label"] for row in rows[:20]) < 16  # not the chosen ones first


def test_a_run_is_compared_with_its_start():
    before = run(["", ""], [-3.0, -5.0], [-4.0, -4.0])
    after = run([" Sorry.", ""], [-2.0, -4.0], [-10.0, -6.0], method="DPO", seed=1, step_s=0.1)
    found = compared(after, before, [RECORD] * 2)
    assert (found["good"], found["win_rate"]) == (0.5, 0.75)  # one is polite now, one is a tie
    assert (found["chosen_change"], found["rejected_change"]) == (1.0, -4.0)
    assert "answers" not in found and "pairs" not in found
    assert "DPO" in table([found]) and "75.0%" in table([found])
    failed = {"error": "ValueError: no", "method": "KTO", "seed": 1}
    assert compared(failed, before, [RECORD] * 2) == failed and "KTO" in table([failed]) and "failed" in table([failed])


def test_the_methods_of_the_lesson_are_there():
    assert {"DPO", "DPO, wrong reference", "DPO + SFT", "SFT on chosen", "IPO", "SimPO", "ORPO", "KTO"} <= set(METHODS)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    adapter = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    get_peft_model(load_model(str(TINY_MODEL)), adapter).save_pretrained(folder / "sft-1")
    return Setting(str(TINY_MODEL), steps=2, batch=4, folder=str(folder))


def test_the_control_never_sees_a_rejected_answer(setting):
    trainer, _, tokenizer = build(setting, "SFT on chosen", seed=1)
    chosen = {(pair["prompt"] + pair["chosen"]).strip() for pair in read_jsonl(TRAIN)}
    seen = [tokenizer.decode(row["input_ids"], skip_special_tokens=True).strip() for row in trainer.train_dataset]
    assert len(seen) == 8 and set(seen) <= chosen


def test_both_losses_are_in_the_sum(setting):
    assert build(setting, "DPO + SFT", seed=1)[0].args.loss_type == ["sigmoid", "sft"]
    assert build(setting, "DPO", seed=1)[0].args.loss_type == ["sigmoid"]


def test_the_record_holds_what_the_page_says_of_the_methods():
    record = json.loads((ROOT / "03-Instruction-Tuning/results/preference-methods-smollm2.json").read_text("utf-8"))

    def mean(method, key):
        return fmean(run[key] for run in record["runs"] if run["method"] == method)

    gaps = record["against control"]
    assert not any(gap["low"] > 0 for gap in gaps.values()), "a method does better than SFT on the chosen answers"
    for method in ("DPO + SFT", "KTO", "ORPO", "SFT on chosen"):
        assert mean(method, "chosen_change") > 0 and mean(method, "good") > 0.8, method
    for method in ("DPO", "IPO", "SimPO", "DPO per token"):
        assert mean(method, "chosen_change") < 0 and gaps[method]["high"] < 0, method
    assert gaps["DPO, wrong reference"]["high"] < 0  # against the control it is decided, against DPO it is not:
    wrong = [run["good"] for run in record["runs"] if run["method"] == "DPO, wrong reference"]
    assert min(wrong) < mean("DPO", "good") < max(wrong)
