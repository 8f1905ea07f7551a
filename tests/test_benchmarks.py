"""The benchmark program runs on a CPU with a small Falcon: what it would write on a GPU is complete."""

from dataclasses import replace

import pytest
import torch

from shared import receipts
from shared.models.quantization import quantized_layers
from tests.benchmarks import falcon_7b
from tests.benchmarks.paired import differences

ON_A_CPU = [row for row in falcon_7b.ROWS if row.stack != "litgpt" and not row.offload and not row.card_gib]


@pytest.mark.parametrize("row", ON_A_CPU, ids=lambda row: row.name)
def test_each_row_leaves_a_complete_receipt(row):
    receipt = falcon_7b.measure(replace(row, length=16, batch=2, steps=2), falcon_7b.TINY, "cpu")
    assert set(receipts.KEYS) <= set(receipt) and receipt["name"] == f"falcon-7b-{row.name}"
    assert receipt["random_weights"] and receipt["steps"] == 2 and receipt["step_s"] > 0 and "error" not in receipt
    assert receipt["tokens_per_s"] == pytest.approx(2 * row.accumulation * 16 / receipt["step_s"], rel=0.01)
    everything = receipt["trainable_parameters"] == receipt["total_parameters"]
    assert everything == (row.method == "full")


def test_running_out_of_memory_is_a_result(monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."
        )

    monkeypatch.setattr(falcon_7b, "train", full)
    receipt = falcon_7b.measure(falcon_7b.ROWS[0], falcon_7b.TINY, "cpu")
    assert receipt["error"] == "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB"
    table = receipts.speed_table([receipt])
    assert "| qlora-balanced | 4 x 2048 | failed: out of memory" in table


def test_the_stock_row_quantises_nothing_and_the_others_all():
    stock = falcon_7b.random_falcon(falcon_7b.TINY, quantize=True, device="cpu", repaired=False)
    assert stock.is_loaded_in_4bit and not quantized_layers(stock)
    assert len(quantized_layers(falcon_7b.random_falcon(falcon_7b.TINY, quantize=True, device="cpu"))) == 8


def test_falcon_7b_has_the_shape_that_the_course_counts_with():
    with torch.device("meta"):
        model = falcon_7b.FalconForCausalLM(falcon_7b.FALCON_7B)
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_921_720_704


def test_the_table_of_several_gpus_compares_with_one():
    common = {"method": "LoRA", "weights": "bfloat16", "device": "H200", "versions": {"torch": "2.11.0"}}
    memory = {"peak_gib_allocated": 16.4, "peak_gib_reserved": 17.0, "held_gib": 13.3, "step_s": 0.5}
    one = common | memory | {"engine": "ddp", "gpus": 1, "tokens_per_s": 1000.0}
    two = common | memory | {"engine": "fsdp", "gpus": 2, "tokens_per_s": 1500.0}
    failed = common | {"engine": "fsdp", "gpus": 4, "error": "out of memory"}
    table = receipts.scaling_table([failed, two, one]).splitlines()
    assert table[2] == "| LoRA, ddp | 1 | 16.4 | 17.0 | 13.3 | 0.500 | 1,000 | 100% |"
    assert table[3] == "| LoRA, fsdp | 2 | 16.4 | 17.0 | 13.3 | 0.500 | 1,500 | 75% |"
    assert table[4] == "| LoRA, fsdp | 4 | failed: out of memory | | | | | |"


def test_differences_are_over_the_seeds_that_both_have():
    right = {
        "base": {1: [True, False], 2: [True, True]},
        "other": {2: [False, True], 3: [True, True]},
        "none": {4: [True]},
    }
    found = differences(right, "base")
    assert list(found) == ["other"] and found["other"]["difference"] == -0.5
    assert differences({"other": {1: [True]}}, "base") == {}
