"""Training that can be cut off at any moment and goes on, when it is run again, as if nothing had happened.

A checkpoint counts once its last file is there: a manifest with the hash of every other one. Trainer alone takes the newest
folder, whether or not it was saved to its end.
"""

import errno
import hashlib
import json
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import rotate_checkpoints, sort_checkpoints

from shared.errors import CourseError
from shared.gpu import memory_advice
from shared.manifests import MANIFEST, flaw, saved_by, write_json, write_manifest

RUN = "run.json"
# Settings that may change between two parts of a run: they don't change what is computed.
FREE = (
    "output_dir run_name report_to disable_tqdm save_steps save_strategy save_total_limit push_to_hub log_level "
    "log_level_replica log_on_each_node logging_dir project trackio_space_id local_rank"
).split()
FULL = (
    "No space left",
    "os error 28",
    "File too large",
    "os error 27",
    "inline_container",
    "Disk quota",
    "file write failed",
)


class DiskFull(CourseError):
    """A checkpoint or model that could not be saved for lack of space."""


class Stopped(KeyboardInterrupt):
    """An interrupt that was waited for until the state was saved."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def rows_sha256(dataset) -> str:
    """The hash of all rows; of none for a stream, which can't be looked through ahead."""
    rows = hashlib.sha256()
    if isinstance(dataset, Dataset):
        for batch in dataset.with_format("arrow").iter(1000):
            rows.update(repr(batch.to_pydict()).encode())
    return rows.hexdigest()


def run_settings(trainer: Trainer) -> dict[str, str]:
    """What makes a run this one: its arguments, model, adapters and data; two runs that agree compute the same."""
    model = trainer.model
    settings = {name: value for name, value in trainer.args.to_dict().items() if not name.startswith("logging_")}
    settings = {name: value for name, value in settings.items() if name not in FREE}
    for name in ("per_device_train_batch_size", "per_device_eval_batch_size"):  # all processes' batches make a step
        settings[name] *= trainer.args.world_size
    if trainer.is_fsdp_enabled:
        settings["the engine"] = "FSDP, whose checkpoints are in pieces that no other engine reads"
    frozen = [
        parameter.detach().flatten()[:8].float() for parameter in model.parameters() if not parameter.requires_grad
    ]
    sample = torch.cat([part.to("cpu") for part in frozen]).numpy().tobytes() if frozen else b""
    settings |= {
        "the model": model.config.to_json_string(),
        "the frozen weights": hashlib.sha256(sample).hexdigest(),
        "the adapters": {name: config.to_dict() for name, config in getattr(model, "peft_config", {}).items()},
        "the training data": rows_sha256(trainer.train_dataset),
    }
    return json.loads(json.dumps(settings, default=_in_order))


def _in_order(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)


def resume_point(trainer: Trainer, unless: Path) -> str | None:
    """The newest complete checkpoint of this very run in `trainer.args.output_dir`; None to start anew.

    `unless`: a file that a run writes when all is done. Where it is younger than the run, the run is over, its checkpoints
    are removed, and a new one starts. An unfinished run with other settings is moved to a folder beside. Checkpoints that
    are incomplete or damaged are named and removed. From now on each checkpoint of `trainer` gets its manifest.
    Of several processes the first one decides, and the others are told.
    """
    decided = _decide(trainer, unless) if trainer.accelerator.is_main_process else ("", None)
    run, checkpoint = broadcast_object_list(list(decided))
    _watch(trainer, run)
    return checkpoint


def _decide(trainer: Trainer, unless: Path) -> tuple[str, str | None]:
    """The name of the run that begins or goes on, and the checkpoint where it does."""
    folder, settings = Path(trainer.args.output_dir), run_settings(trainer)
    found = [Path(path) for path in reversed(sort_checkpoints(str(folder)))]
    try:
        last = json.loads((folder / RUN).read_text())
        over = unless.is_file() and unless.stat().st_mtime >= (folder / RUN).stat().st_mtime
    except (OSError, ValueError):
        last, over = {"run": "", "settings": {}}, False
    changed = sorted(name for name in settings | last["settings"] if settings.get(name) != last["settings"].get(name))
    if over:
        for checkpoint in found:
            shutil.rmtree(checkpoint)
    elif found and changed:
        _set_aside(folder, last["settings"], settings, changed)
    else:
        for checkpoint in found:
            if not (reason := flaw(checkpoint, last["run"])):
                print(f"going on from {checkpoint.name}; to start anew, delete {folder.name}")
                if (before := saved_by(checkpoint)) != (now := trainer.args.world_size):
                    print(
                        f"it was saved by {before} process(es), and {now} go on: the same steps, but dropout would differ"
                    )
                return last["run"], str(checkpoint)
            print(f"{checkpoint.name} is not used: {reason}")
            shutil.rmtree(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    run = secrets.token_hex(8)
    write_json(folder / RUN, {"run": run, "settings": settings})
    return run, None


def _set_aside(folder: Path, old: dict, new: dict, changed: list[str]) -> None:
    beside = next(path for n in range(1, 10**6) if not (path := folder.with_name(f"{folder.name}-{n}")).exists())
    folder.rename(beside)
    differences = []
    for name in changed[:3] if old else []:
        short = len(f"{old.get(name)}{new.get(name)}") < 60 and not name.startswith("the ")
        differences.append(f"{name} was {old.get(name)} and is {new.get(name)}" if short else f"{name} changed")
    why = ", ".join(differences) or "it cannot be told what they belong to"
    print(f"the checkpoints found here are of another run ({why}): moved to {beside.name}, training starts anew")


class Manifests(TrainerCallback):
    """Ends each checkpoint with its manifest, only then lets go of older ones, and stops where that was asked for."""

    def __init__(self, trainer: Trainer, run: str):
        self.trainer, self.run, self.stop = trainer, run, False
        # Trainer would delete an older checkpoint before the new one is vouched for.
        self.limit, trainer.args.save_total_limit = trainer.args.save_total_limit, None

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        tokens = 0
        if state.global_step:
            manifest = json.loads((_checkpoint(args, state) / MANIFEST).read_text())
            tokens = manifest["tokens"]
        if hasattr(self.trainer, "_total_train_tokens"):  # TRL counts from 0 again
            self.trainer._total_train_tokens = tokens
        if state.global_step >= state.max_steps:  # Trainer looks only after a step whether it was the last one
            self.trainer._run_epoch = lambda **_: setattr(control, "should_training_stop", True)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.trainer.__dict__.pop("_run_epoch", None)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.stop:
            control.should_save = control.should_training_stop = True

    def on_save(self, args, state, control, **kwargs) -> None:
        self.trainer.accelerator.wait_for_everyone()  # each process writes files of its own
        if args.should_save:
            tokens = getattr(self.trainer, "_total_train_tokens", 0)
            write_manifest(_checkpoint(args, state), self.run, tokens=tokens, processes=args.world_size)
            rotate_checkpoints(args.output_dir, self.limit, state.best_model_checkpoint)
        if self.stop:
            raise Stopped(
                f"Interrupted after step {state.global_step} of {state.max_steps}, and saved: run the cell again to go on."
            )


def _checkpoint(args, state) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _watch(trainer: Trainer, run: str) -> None:
    earlier = trainer.pop_callback(Manifests)
    if earlier:  # the cell is run again
        trainer.args.save_total_limit = earlier.limit
    trainer.add_callback(Manifests(trainer, run))


@contextmanager
def resumable(trainer: Trainer, unless: Path) -> Iterator[str | None]:
    """`with resumable(trainer, unless=FILE) as checkpoint: trainer.train(resume_from_checkpoint=checkpoint)`.

    As resume_point; and an interrupt waits for the end of the step and saves (a second one does not wait). Running out of
    memory or disk becomes a sentence that says what to do: raises OutOfMemory, DiskFull, Stopped. Of several processes none
    waits, for they might not stop after the same step: the run goes on from its last checkpoint.
    """
    with memory_advice(trainer.args), _disk_advice(trainer), _patient_interrupt(trainer):
        yield resume_point(trainer, unless)


@contextmanager
def _disk_advice(trainer: Trainer) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        if number not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and not any(part in str(error) for part in FULL):
            raise
        folder, kept = Path(trainer.args.output_dir), []
        for path in sort_checkpoints(str(folder)):
            if (Path(path) / MANIFEST).is_file():
                kept.append(Path(path).name)
            else:
                shutil.rmtree(path)
        last = (
            f"{kept[-1]} is complete: make room and run the cell again, and it goes on there" if kept else "make room"
        )
        free = shutil.disk_usage(folder).free / 2**20
        step = trainer.state.global_step
        raise DiskFull(
            f"The disk is full: the checkpoint of step {step} could not be saved ({free:,.0f} MiB free now). {last}. "
            "OUTPUT_DIR names another place."
        ) from None


@contextmanager
def _patient_interrupt(trainer: Trainer) -> Iterator[None]:
    # Signals can be caught in the main thread only.
    if threading.current_thread() is not threading.main_thread() or trainer.args.world_size > 1:
        yield
        return

    def wait(number, frame) -> None:
        signal.signal(signal.SIGINT, before)
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, Manifests):
                callback.stop = True

    before = signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
