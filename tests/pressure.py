"""Trainings that run out of something: `python -m tests.pressure disk FOLDER | memory`; what they raise is printed."""

import json
import resource
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import torch

from shared.checkpoints import RUN, flaw
from shared.errors import CourseError
from tests import resumed_run


def disk(folder: Path) -> None:
    """Checkpoints of some MB into a small file system: it fills up at the second or third."""
    try:
        resumed_run.train(folder, save_total_limit=None)
    except CourseError as error:
        print(f"{type(error).__name__}: {error}")
    run = json.loads((folder / "checkpoints" / RUN).read_text())["run"]
    print("intact:", {flaw(path, run) for path in folder.glob("checkpoints/checkpoint-*")} == {""})


def memory() -> None:
    """A batch of 64 under a cap of what is in use and 60 MB more: the GPU's memory, or without one the process's."""
    with TemporaryDirectory() as folder:
        changes = {
            "per_device_train_batch_size": 64,
            "max_length": 256,
            "eval_strategy": "no",
            "load_best_model_at_end": False,
        }
        trainer = resumed_run.build(Path(folder), **changes)
        if torch.cuda.is_available():
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 60 * 2**20) / total)
        else:
            used = psutil.Process().memory_info().vms
            resource.setrlimit(resource.RLIMIT_AS, (used + 60 * 2**20, resource.RLIM_INFINITY))
        try:
            with resumed_run.resumable(trainer, unless=Path(folder) / "result.json") as checkpoint:
                trainer.train(resume_from_checkpoint=checkpoint)
        except CourseError as error:
            print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    disk(Path(sys.argv[2])) if sys.argv[1] == "disk" else memory()
