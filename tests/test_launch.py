"""`make train`: a notebook's own training cells in several processes compute what one process does, fail at once, and go on."""

import json
import os
import runpy
import shutil
import sys
import time
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat import v4
from safetensors.torch import load_file

from shared import launch, worker
from shared.errors import FAILURES, CourseError, DataError
from shared.profile import ROOT
from shared.run import RunError, UsageError

NOTEBOOK = ROOT / "02-PEFT/Falcon-7B-LoRA.ipynb"
STEPS = 4  # a checkpoint after the second and the last
# Both kinds of run in float32: in bfloat16, rounding (of sums in another order, over other padding) would hide a wrong sum.
EXACT = """
import shared.models.loading
shared.models.default_dtype = shared.models.loading.default_dtype = lambda: torch.float32
"""
DEATH = """
import os, signal, time
from transformers import TrainerCallback

class Death(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3 and os.environ.get("RANK") == "1":
            (profile.output_dir / "died").write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)

trainer.add_callback(Death())
"""


def environment(folder: Path) -> dict[str, str]:
    variables = {"PROFILE": "tiny", "MAX_STEPS": str(STEPS), "SEED": "", "MODEL": "", "DATASET": ""}
    return os.environ | variables | {"OUTPUT_DIR": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def in_two_processes(folder: Path, fault: str = "") -> None:
    """The exported script, with two insertions of the tests' own."""
    script = launch.export(NOTEBOOK, folder)
    text = script.read_text()
    assert text.count("\nprofile = ") == 1 == text.count("\nfrozen = ")
    text = text.replace("\nprofile = ", EXACT + "from shared.models import default_dtype\nprofile = ")
    script.write_text(text.replace("\nfrozen = ", f"{fault}\nfrozen = "))
    launch.start(script, "cpu2", 2, environment(folder), folder)


def in_this_process(folder: Path, validation_batch: str = "profile.batch_size") -> dict:
    """What the script leaves when it is run as one process, with validation batches of another size if asked for."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
            patch.delenv(name, raising=False)
        patch.setattr(sys, "excepthook", sys.excepthook)
        for module in ("shared.models", "shared.models.loading"):
            patch.setattr(f"{module}.default_dtype", lambda: torch.float32)
        script, setting = launch.export(NOTEBOOK, folder), "per_device_eval_batch_size={}"
        text = script.read_text()
        assert setting.format("profile.batch_size") in text
        script.write_text(text.replace(setting.format("profile.batch_size"), setting.format(validation_batch)))
        runpy.run_path(str(script))
    return outcome(folder)


def outcome(folder: Path) -> dict:
    receipt = json.loads((folder / "result.json").read_text())
    return {**receipt, "adapter": load_file(folder / "adapter/adapter_model.safetensors")}


def assert_same(found: dict, expected: dict, validation: float = 1e-5) -> None:
    """The same training losses within 1e-5, validation losses as said, the same adapter within 1e-4 of its size.

    Measured: 2e-7 and 5e-6.
    """
    for kind, tolerance in (("training", 1e-5), ("held-out", validation)):
        steps, losses = zip(*found["losses"][kind], strict=True)
        wanted_steps, wanted = zip(*expected["losses"][kind], strict=True)
        assert steps == wanted_steps
        assert losses == pytest.approx(wanted, rel=tolerance), kind
    assert found["adapter"].keys() == expected["adapter"].keys()
    difference = sum(float((found["adapter"][n] - t).square().sum()) for n, t in expected["adapter"].items()) ** 0.5
    size = sum(float(t.square().sum()) for t in expected["adapter"].values()) ** 0.5
    assert difference < 1e-4 * size, difference / size


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    """One process with the batch of two; TRL's validation loss is a mean over batches, so these have to be as large as theirs."""
    return in_this_process(tmp_path_factory.mktemp("alone"), validation_batch="4")


def test_two_processes_are_cut_off_at_once_and_go_on_to_what_one_process_gives(tmp_path, alone, capfd):
    folder, copy = tmp_path / "two", tmp_path / "copy"
    words = r"a process ended without a word.* \(all were stopped\).*the last complete checkpoint"
    with pytest.raises(RunError, match=words):
        in_two_processes(folder, DEATH)
    waited = time.time() - float((folder / "died").read_text())
    assert waited < 60  # the other process would wait for half an hour
    said = capfd.readouterr().out
    assert said.count("step 0/4") == 1, "progress comes from the first process alone"
    assert sorted(path.name for path in folder.glob("checkpoints/checkpoint-*")) == ["checkpoint-2"]
    shutil.copytree(folder, copy)

    in_two_processes(folder)
    said = capfd.readouterr().out
    assert said.count("going on from checkpoint-2") == 1 and "it was saved by" not in said
    together = outcome(folder)
    assert (together["processes"], together["batch_size"], alone["batch_size"]) == (2, 4, 8)
    assert together["trainable_parameters"] == alone["trainable_parameters"]
    assert_same(together, alone)

    gone_on = in_this_process(copy)
    assert "it was saved by 2 process(es), and 1 go on" in capfd.readouterr().out
    assert gone_on["resumed_at_step"] == 2
    assert_same(gone_on, alone, validation=1e-2)  # its validation batches are of 8


def test_the_script_holds_the_cells_word_for_word(tmp_path):
    text = launch.export(NOTEBOOK, tmp_path).read_text()
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    tagged = [cell.source for cell in cells if "train" in cell.metadata.get("tags", [])]
    assert len(tagged) >= 6 and any("trainer.train(" in source for source in tagged)
    places = [text.index(f"\n{source}\n") for source in tagged]
    assert places == sorted(places)
    assert "evaluation.evaluate(" not in text
    assert text.rstrip().endswith("finish(trainer, profile, '02-PEFT/Falcon-7B-LoRA.ipynb')")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a notebook; the variables of a run set to nothing but the profile."""
    for name, value in environment(tmp_path / "out").items():
        monkeypatch.setenv(name, value)

    def write(*cells: str) -> str:
        tag = {"tags": ["train"]}
        nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(c, metadata=tag) for c in cells]), tmp_path / "nb.ipynb")
        return str(tmp_path / "nb.ipynb")

    return write


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config", "zero3"], "CONFIG=zero3 is unknown: set CONFIG to cpu2, ddp, fsdp, fsdp_qlora."),
        (["--config", "cpu2", "--processes", "0"], "NPROC=0 is not usable: set it to a whole number from 1 up."),
        (
            ["--config", "cpu2", "--processes", "3"],
            "3 processes cannot divide profile tiny's batch of 8 examples evenly: take 1, 2, 4 or 8.",
        ),
        (
            ["--config", "fsdp", "--processes", "2"],
            "CONFIG=fsdp needs a GPU for each of 2 processes, and PyTorch sees none",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(here, capsys, monkeypatch, options, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert launch.main([here("1"), *options]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}") and printed.err.count("\n") == 1


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    launch.check_gpus("ddp", 2)
    with pytest.raises(
        UsageError, match=r"CONFIG=ddp with 4 processes needs as many GPUs, and PyTorch sees 2: set NPROC"
    ):
        launch.check_gpus("ddp", 4)


def test_notebooks_that_cannot_be_a_script(here, capsys):
    assert launch.main(["missing.ipynb"]) == 2
    assert launch.main([here(), "--config", "cpu2"]) == 2
    assert launch.main([here("x = 1", "%matplotlib inline"), "--config", "cpu2"]) == 2
    missing, untagged, magic = capsys.readouterr().err.splitlines()
    assert "missing.ipynb is not a notebook; there are: " in missing
    assert "has the tag `train`: tag those that set up, build the trainer and train" in untagged
    assert "a cell tagged `train` has a magic or shell command" in magic and "matplotlib" in magic


def test_gpus_are_left_to_accelerate_and_the_cpu_to_torchrun():
    gpus = launch.command(Path("train.py"), "fsdp_qlora", 4)
    assert gpus[2] == "accelerate.commands.launch" and gpus[gpus.index("--num_processes") + 1] == "4"
    assert gpus[gpus.index("--config_file") + 1].endswith("shared/accelerate/fsdp_qlora.yaml")
    assert launch.command(Path("train.py"), "cpu2", 2)[2:5] == [
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
    ]
    assert launch.command(Path("train.py"), "ddp", 1)[2] == "torch.distributed.run"  # accelerate refuses a single one
    assert launch.command(Path("train.py"), "fsdp", 1)[2] == "accelerate.commands.launch"
    hidden = launch.process_environment("cpu2", 2, {"OMP_NUM_THREADS": "3"})
    assert (hidden["ACCELERATE_USE_CPU"], hidden["CUDA_VISIBLE_DEVICES"], hidden["OMP_NUM_THREADS"]) == (
        "true",
        "",
        "3",
    )
    assert "CUDA_VISIBLE_DEVICES" not in launch.process_environment("ddp", 2, {})


def test_the_words_of_the_failed_process_end_the_job(tmp_path, capfd):
    script = tmp_path / "train.py"
    script.write_text(
        "import os, time\nfrom shared.worker import begin\nfrom shared.errors import DataError\nbegin()\nprint('I speak')\n"
        "if os.environ['RANK'] == '1':\n    raise DataError('orders.jsonl, line 3: no prompt.')\ntime.sleep(500)\n"
    )
    with pytest.raises(
        RunError, match=r"process 1 of 2 failed: orders.jsonl, line 3: no prompt\. \(all were stopped\)"
    ):
        launch.start(script, "cpu2", 2, environment(tmp_path), tmp_path)
    printed = capfd.readouterr()
    assert "process 1:\norders.jsonl, line 3: no prompt.\n" in printed.err
    assert printed.out.count("I speak") <= 1


def test_an_interrupt_ends_without_words(tmp_path, monkeypatch, capsys):
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    monkeypatch.setenv(FAILURES, str(tmp_path))
    worker.fail(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert statuses == [130] and capsys.readouterr().err == "" and not list(tmp_path.iterdir())


def test_who_misses_another_is_not_taken_for_the_cause(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "_exit", lambda status: None)
    monkeypatch.setenv(FAILURES, str(tmp_path))
    for error in (torch.distributed.DistBackendError("NCCL"), RuntimeError("pair.cc:534] Connection closed by peer")):
        worker.fail(type(error), error, None)
        assert str(error) in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "left", "status"),
    [
        (DataError("line 3: no prompt."), "line 3: no prompt.", 1),
        (DataError(), "DataError", 1),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", 1),
        (RuntimeError("CUDA error: assert\nCompile with X."), "RuntimeError: CUDA error: assert", 1),
    ],
)
def test_only_the_first_failure_is_told(tmp_path, monkeypatch, capsys, error, left, status):
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    monkeypatch.setenv(FAILURES, str(tmp_path))
    monkeypatch.setenv("RANK", "1")
    worker.fail(type(error), error, None)
    worker.fail(RuntimeError, RuntimeError("connection closed by peer"), None)
    assert statuses == [status, 1]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"1.txt": left}
    said = capsys.readouterr().err
    assert left in said and "connection" not in said
    assert ("Traceback" in said) <= (not isinstance(error, CourseError))
