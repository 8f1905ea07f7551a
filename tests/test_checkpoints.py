"""A training that is cut off goes on exactly where it was, and says so; nothing incomplete or foreign is taken up."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel
from transformers import TrainerCallback

from shared.checkpoints import MANIFEST, RUN, DiskFull, Stopped, flaw, resumable, run_settings
from shared.gpu import OutOfMemory
from shared.profile import ROOT
from tests import resumed_run

SHORT = {"max_steps": 8, "save_total_limit": 3}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


class Break(TrainerCallback):
    """Does something at the end of a step; by default the process' code fails there."""

    def __init__(self, step: int, action=None):
        self.step, self.action = step, action or self.fail

    def fail(self) -> None:
        raise ZeroDivisionError

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step:
            self.action()


def cut_off(folder: Path, step: int, action=None, **changes) -> None:
    trainer = resumed_run.build(folder, **SHORT | changes)
    trainer.add_callback(Break(step, action))
    with resumable(trainer, unless=folder / "result.json") as checkpoint:
        trainer.train(resume_from_checkpoint=checkpoint)


@pytest.fixture(autouse=True)
def interruptible():
    """Where the tests run in the background of a shell, it has them ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> dict:
    return resumed_run.train(tmp_path_factory.mktemp("calm"), **SHORT)


@pytest.fixture
def interrupted(tmp_path, capsys) -> Path:
    """A run that failed in step 5: checkpoints 2 and 4 are there."""
    with pytest.raises(ZeroDivisionError):
        cut_off(tmp_path, 5)
    capsys.readouterr()
    return tmp_path


def started_at(folder: Path, capsys, **changes) -> tuple[str, dict]:
    outcome = resumed_run.train(folder, **SHORT | changes)
    return capsys.readouterr().out, outcome


def test_killed_twenty_times_the_outcome_is_the_same_to_the_bit(tmp_path):
    command = [sys.executable, "-m", "tests.resumed_run", str(tmp_path), "20"]
    ran = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads(ran.stdout.splitlines()[-1])
    assert report["kills"] == 20 and report["went on"] == 20
    assert report["in the middle of a save"] >= 3 and report["incomplete checkpoints named"] >= 3
    assert report["same losses, step by step"] and report["steps"] == resumed_run.STEPS
    assert report["same validation, best checkpoint, steps timed"] and report["same adapter, bit for bit"]


def test_a_run_that_failed_goes_on(interrupted, calm, capsys):
    said, outcome = started_at(interrupted, capsys)
    assert "going on from checkpoint-4; to start anew, delete checkpoints" in said
    assert outcome == calm


def test_a_finished_run_starts_anew(tmp_path, calm, capsys):
    for _ in range(2):
        said, outcome = started_at(tmp_path, capsys)
        assert "going on" not in said and outcome == calm


def test_a_run_cut_off_after_training_has_nothing_left_to_train(tmp_path, calm, capsys):
    resumed_run.train(tmp_path, **SHORT)
    (tmp_path / "result.json").unlink()
    said, outcome = started_at(tmp_path, capsys)
    assert "going on from checkpoint-8" in said and outcome == calm


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "manifest"])
def test_a_damaged_checkpoint_is_named_and_an_older_one_taken(interrupted, calm, capsys, damage):
    newest = interrupted / "checkpoints" / "checkpoint-4"
    victim = newest / (MANIFEST if damage == "manifest" else "optimizer.pt")
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "delete":
        victim.unlink()
    else:
        victim.write_bytes(content if damage == "flip" else content[:-9])
    said, outcome = started_at(interrupted, capsys)
    reason = "it has no manifest.json" if damage == "manifest" else "optimizer.pt is damaged or missing"
    assert f"checkpoint-4 is not used: {reason}" in said and "going on from checkpoint-2" in said
    assert outcome == calm


def test_another_run_in_the_folder_is_set_aside(interrupted, capsys):
    said, _ = started_at(interrupted, capsys, learning_rate=1e-3)
    assert "(learning_rate was 0.004 and is 0.001): moved to checkpoints-1, training starts anew" in said
    run = json.loads((interrupted / "checkpoints-1" / RUN).read_text())["run"]
    assert flaw(interrupted / "checkpoints-1" / "checkpoint-4", run) == ""
    assert "belongs to another run" in flaw(interrupted / "checkpoints-1" / "checkpoint-4", "other")


def test_checkpoints_that_were_saved_without_manifest_are_set_aside(interrupted, capsys):
    (interrupted / "checkpoints" / RUN).unlink()
    said, _ = started_at(interrupted, capsys)
    assert "it cannot be told what they belong to" in said
    assert (interrupted / "checkpoints-1" / "checkpoint-4").is_dir()


def test_other_data_or_other_weights_make_another_run(tmp_path):
    trainer = resumed_run.build(tmp_path)
    settings = run_settings(trainer)
    assert run_settings(resumed_run.build(tmp_path / "elsewhere")) == settings
    trainer.train_dataset = trainer.train_dataset.select(range(59))
    frozen = next(p for p in trainer.model.parameters() if not p.requires_grad)
    frozen.data[0] += 1
    changed = {name for name, value in run_settings(trainer).items() if value != settings[name]}
    assert changed == {"the training data", "the frozen weights"}
    assert not any(
        "token" in name and value not in (None, "<HUB_TOKEN>") for name, value in settings.items() if "hub" in name
    )


def test_an_interrupt_waits_for_the_step_saves_and_the_run_goes_on(tmp_path, calm, capsys):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped, match="Interrupted after step 5 of 8, and saved: run the cell again") as stopped:
        cut_off(tmp_path, 5, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert stopped.value._render_traceback_() == [str(stopped.value)]
    assert signal.getsignal(signal.SIGINT) is before
    capsys.readouterr()
    said, outcome = started_at(tmp_path, capsys)
    assert "going on from checkpoint-5" in said
    assert outcome["losses"] == calm["losses"]


def test_a_second_interrupt_does_not_wait(tmp_path):
    def twice():
        patient = signal.getsignal(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        while signal.getsignal(signal.SIGINT) is patient:  # two signals at once would be one
            pass
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        cut_off(tmp_path, 5, twice)
    assert not isinstance(stopped.value, Stopped)


def test_a_checkpoint_is_let_go_of_only_when_a_newer_one_is_vouched_for(tmp_path, monkeypatch):
    """With room for one: cut off between the last file and the manifest, the older one is still there."""
    from shared import checkpoints

    write = checkpoints.write_manifest

    def fail_at_4(checkpoint, *arguments, **more):
        if checkpoint.name == "checkpoint-4":
            raise ZeroDivisionError
        write(checkpoint, *arguments, **more)

    monkeypatch.setattr(checkpoints, "write_manifest", fail_at_4)
    with pytest.raises(ZeroDivisionError):
        cut_off(tmp_path, 7, save_total_limit=1, load_best_model_at_end=False)
    assert {path.name for path in tmp_path.glob("checkpoints/checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("file write failed")])
def test_a_full_disk_is_named_and_the_last_checkpoint_stays(tmp_path, error, monkeypatch, calm, capsys):
    def fail():
        monkeypatch.setattr("transformers.Trainer._save_rng_state", full)

    def full(*arguments):
        raise error

    with pytest.raises(DiskFull, match=r"step 6 could not be saved.*checkpoint-4 is complete: make room"):
        cut_off(tmp_path, 5, fail)
    assert sorted(path.name for path in tmp_path.glob("checkpoints/checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    monkeypatch.undo()
    assert started_at(tmp_path, capsys)[1] == calm


def test_on_a_small_disk_that_really_fills_up(tmp_path):
    """A file system of 5 MB in a namespace of its own, where this machine lets one make it."""
    script = f"mount -t tmpfs -o size=5m tmpfs {tmp_path} && exec {sys.executable} -m tests.pressure disk {tmp_path}"
    ran = in_namespace("--mount", script)
    assert "DiskFull: The disk is full" in ran.stdout and "is complete: make room" in ran.stdout, (
        ran.stdout + ran.stderr
    )
    assert "intact: True" in ran.stdout and "Traceback" not in ran.stdout + ran.stderr


def in_namespace(kind: str, script: str) -> subprocess.CompletedProcess:
    unshare = ["unshare", "--user", "--map-root-user", kind, "sh", "-c"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets no user make a namespace")
    return subprocess.run([*unshare, script], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)


def test_memory_that_runs_out_names_the_ladder():
    command = [sys.executable, "-m", "tests.pressure", "memory"]
    ran = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert f"{OutOfMemory.__name__}: Out of RAM memory: the peak was" in ran.stdout, ran.stdout + ran.stderr
    assert "Next: per_device_train_batch_size=32 with gradient_accumulation_steps=2" in ran.stdout
    assert "The whole ladder: shorter examples" in ran.stdout


def run_cell(client, code: str, during=None) -> str:
    """What a notebook's cell prints and raises; `during` is called once it has shown that training goes on."""
    said = []

    def hear(message) -> None:
        content = message["content"]
        said.append(content.get("text") or "\n".join(content.get("traceback", [])) or str(content.get("data", "")))
        nonlocal during
        if during and "step 1" in said[-1]:
            during()
            during = None

    client.execute_interactive(code, timeout=60, output_hook=hear)
    return "\n".join(said)


def test_stopped_in_jupyterlab_a_cell_saves_and_goes_on_when_it_is_run_again(tmp_path):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(ROOT), env=ENVIRONMENT)
    try:
        setup = f"""
            from pathlib import Path
            from tests import resumed_run
            from shared.checkpoints import resumable
            trainer = resumed_run.build(Path({str(tmp_path)!r}), max_steps=5000, save_steps=1000, eval_steps=1000)
            trainer.callback_handler.callbacks[-2].interval = 0
        """
        cell = f"""
            with resumable(trainer, unless=Path({str(tmp_path / "result.json")!r})) as checkpoint:
                trainer.train(resume_from_checkpoint=checkpoint)
        """
        run_cell(client, textwrap.dedent(setup))
        said = run_cell(client, textwrap.dedent(cell), during=manager.interrupt_kernel)
        step = int(re.search(r"Interrupted after step (\d+) of 5000, and saved", said)[1])
        assert "Traceback" not in said
        assert f"going on from checkpoint-{step}" in run_cell(
            client, textwrap.dedent(cell), during=manager.interrupt_kernel
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
