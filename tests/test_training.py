"""The callbacks that report a training, the plots and the receipts."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from shared import plots, receipts, training
from shared.evaluation import Score
from shared.models import load_model
from shared.profile import TINY_MODEL, load_profile

SCORE = Score("exact match", 0.5, 100, 0.4, 0.6)


def receipt(profile, **changes):
    measured = dict.fromkeys(
        "method dataset dataset_sha256 batch_size sequence_length accumulation trainable_parameters total_parameters "
        "weights_gib step_s steps tokens_per_s train_s".split(),
        1,
    )
    return receipts.write_receipt(profile, "02-PEFT/X.ipynb", {"before": SCORE, "after": SCORE}, **measured | changes)


def test_progress_rewrites_one_line(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=lambda data, **kw: shown.append((data["text/plain"], kw["metadata"])))
    monkeypatch.setattr(
        training, "display", lambda data, **kw: shown.append((data["text/plain"], kw["metadata"])) or handle
    )
    monkeypatch.setattr(training.InteractiveShell, "initialized", lambda: True)
    progress = training.Progress(interval=0)
    state = SimpleNamespace(global_step=0, max_steps=4, is_world_process_zero=True)
    progress.on_train_begin(None, state, None)
    state.global_step = 2
    progress.on_log(None, state, None, logs={"loss": 0.5})
    progress.on_step_end(None, state, None)
    progress.on_train_end(None, state, None)
    assert [text.split(" · ")[0] for text, _ in shown[:2]] == ["step 0/4", "step 2/4"]
    assert "loss 0.500" in shown[1][0] and "s left" in shown[1][0]
    assert all(metadata == {"progress": True} for _, metadata in shown)


@pytest.mark.parametrize("first", [True, False])
def test_outside_a_notebook_the_first_process_prints_lines_and_no_other(capsys, monkeypatch, first):
    monkeypatch.setattr(training.InteractiveShell, "initialized", lambda: False)
    progress = training.Progress(interval=0)
    state = SimpleNamespace(global_step=0, max_steps=4, is_world_process_zero=first)
    progress.on_train_begin(None, state, None)
    state.global_step = 1
    progress.on_step_end(None, state, None)  # less than ten seconds later
    progress.on_train_end(None, state, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines == (["step 0/4", "1 steps in 0 s, evaluation and checkpoints included"] if first else [])


def test_stopwatch_leaves_out_what_lies_between_steps(monkeypatch):
    clock = iter([0.0, 1.0, 10.0, 13.0, 50.0, 52.0])
    watch = training.Stopwatch()
    monkeypatch.setattr(watch, "_now", lambda: next(clock))
    watch.on_train_begin(SimpleNamespace(output_dir="nowhere"), SimpleNamespace(global_step=0), None)
    for _ in range(3):
        watch.on_step_begin(None, None, None)
        watch.on_step_end(None, None, None)
    trainer = SimpleNamespace(
        state=SimpleNamespace(log_history=[{"num_tokens": 300}, {"num_tokens": 600}, {"loss": 1}])
    )
    assert watch.speed(trainer) == {"step_s": 2.5, "tokens_per_s": 80.0, "steps": 3, "resumed_at_step": 0}


def test_loss_history_keeps_training_and_held_out_apart():
    log = [{"step": 1, "loss": "2.0"}, {"step": 2, "eval_loss": 1.5}, {"step": 2, "train_runtime": 3}]
    history = training.loss_history(SimpleNamespace(state=SimpleNamespace(log_history=log)))
    assert history == {"training": [(1, 2.0)], "held-out": [(2, 1.5)]}


def test_peak_memory_is_that_of_this_process():
    block = torch.ones(2**26)  # 256 MiB
    kind, gib = training.peak_memory()
    assert kind in ("RAM", "GPU") and (kind == "GPU" or gib > block.nbytes / 2**30)


def test_parameter_counts_of_a_quantised_model_count_values():
    plain, quantised = load_model(TINY_MODEL, dtype=torch.bfloat16), load_model(TINY_MODEL, quantize="nf4")
    a, b = receipts.parameter_counts(plain), receipts.parameter_counts(quantised)
    assert a["total_parameters"] == b["total_parameters"] == 3_836_928
    assert b["weights_gib"] < 0.5 * a["weights_gib"]


def test_a_receipt_holds_every_key_and_says_which_is_missing(tmp_path):
    profile = replace(load_profile("X", {"PROFILE": "tiny"}), output_dir=tmp_path / "out", weights=str(TINY_MODEL))
    written = receipt(profile)
    stored = json.loads((tmp_path / "out/result.json").read_text())
    assert set(receipts.KEYS) <= set(stored) and stored["metrics"]["after"]["low"] == 0.4
    assert written["random_weights"] is False
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out/result.json"]
    with pytest.raises(receipts.ReceiptError, match="lacks step_s"):
        measured = {key: 1 for key in receipts.KEYS if key not in ("step_s", "metrics", "notebook", "profile")}
        receipts.write_receipt(profile, "X", {}, **measured)


def test_tables_are_made_from_receipts_and_failed_runs_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(receipts, "ROOT", tmp_path)
    profile = replace(load_profile("X", {"PROFILE": "tiny"}), output_dir=tmp_path / "out", weights=str(TINY_MODEL))
    good = receipt(profile)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/a.json").write_text(json.dumps(good))
    (tmp_path / "results/b.json").write_text(json.dumps(good | {"name": "b", "error": "out of memory"}))
    page = tmp_path / "README.md"
    page.write_text("# T\n<!-- table: results/*.json -->\nold\n<!-- end of table -->\nrest\n")
    text = receipts.fill_tables(page)
    assert "| 50% (40% to 60%) | 50% (40% to 60%) |" in text and "failed: out of memory" in text
    assert "old" not in text and text.endswith("rest\n")
    page.write_text("<!-- table: nothing/*.json -->\n<!-- end of table -->\n")
    with pytest.raises(receipts.ReceiptError, match="no receipt matches nothing"):
        receipts.fill_tables(page)


def test_random_weights_are_known_by_their_configuration(tmp_path):
    (tmp_path / "config.json").write_text('{"random_weights": true}')
    profile = load_profile("X", {"PROFILE": "tiny"})
    assert receipts.is_random(replace(profile, weights=str(tmp_path)))
    assert not receipts.is_random(replace(profile, weights=str(TINY_MODEL)))


def test_plots_are_white_and_written(tmp_path):
    figure = plots.loss_curve({"training": [(1, 2.0), (2, 1.0)], "validation": []}, save_to=tmp_path / "a/loss.png")
    assert (tmp_path / "a/loss.png").read_bytes()[1:4] == b"PNG"
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert len(plots.score_bars({"a": SCORE, "b": SCORE}).axes[0].patches) == 2
    assert plots.length_histogram([3, 4, 4], 8).axes[0].get_xlabel() and plots.named_bars({"a": 1}, "x").axes


def test_fsdp_hears_that_an_evaluation_is_over(tmp_path):
    """Embedding and head are one group, as accelerate makes it; the embedding is called, and the head never is."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(8, 4), "head": torch.nn.Linear(4, 8)})
        mesh = init_device_mesh("cpu", (1,))
        fully_shard(list(model.values()), mesh=mesh)
        state = model["embedding"]._get_fsdp_state()
        state._modules_to_run_forward.add(model["head"])  # what PyTorch 2.11 leaves behind, and 2.15 does not
        training.ForwardIsOver().on_evaluate(None, None, None, model=model)
        assert not state._modules_to_run_forward
    finally:
        torch.distributed.destroy_process_group()
