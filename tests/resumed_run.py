"""A small training that test_checkpoints kills: everything slow is done once, and each try is a forked process.

Where there is a GPU, which a fork can't use, each try is a new process.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from shared.checkpoints import MANIFEST, resumable
from shared.data import ORDERS_TRAIN, read_jsonl
from shared.models import load_model, load_tokenizer
from shared.profile import TINY_MODEL
from shared.training import Progress, Stopwatch, quiet

STEPS, SAVE, LAYERS = 80, 2, 1
EXAMPLES = [{key: record[key] for key in ("prompt", "completion")} for record in read_jsonl(ORDERS_TRAIN)[:70]]
TOKENIZER = load_tokenizer(TINY_MODEL)


def build(folder: Path, **changes) -> SFTTrainer:
    """A trainer with dropout, shuffled data, evaluation and the best checkpoint: all that has to come back."""
    set_seed(11)
    model = load_model(TINY_MODEL, dtype=torch.float32)
    model.transformer.h = model.transformer.h[:LAYERS]  # what is tested does not depend on its size, and its time does
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.1, target_modules=["query_key_value"])
    settings = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 4e-3,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": SAVE,
        "save_steps": SAVE,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "seed": 11,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return quiet(
        SFTTrainer(
            model=model,
            args=SFTConfig(folder / "checkpoints", **settings | changes),
            train_dataset=Dataset.from_list(EXAMPLES[:60]),
            eval_dataset=Dataset.from_list(EXAMPLES[60:]),
            processing_class=TOKENIZER,
            peft_config=lora,
            callbacks=[Progress(), Stopwatch()],
        )
    )


def train(folder: Path, **changes) -> dict:
    """Train to the end, from wherever an earlier try was cut off; the outcome is written to `folder`, too."""
    trainer = build(folder, **changes)
    with resumable(trainer, unless=folder / "result.json") as checkpoint:
        trainer.train(resume_from_checkpoint=checkpoint)
    history = trainer.state.log_history
    losses = {
        entry["step"]: (entry["loss"], entry["grad_norm"], entry["num_tokens"]) for entry in history if "loss" in entry
    }
    stopwatch = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Stopwatch))
    outcome = {
        "losses": losses,
        "validation": {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry},
        "best": Path(trainer.state.best_model_checkpoint).name,
        "steps timed": len(stopwatch.step_seconds),
    }
    trainer.save_model(folder / "adapter")
    (folder / "result.json").write_text(json.dumps(outcome))
    return outcome


def fork(folder: Path, **changes) -> int:
    """The process id of a child that trains; what it says goes to `folder`/log."""
    if torch.cuda.is_available():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log").open("a") as log:
            command = [sys.executable, "-m", "tests.resumed_run", folder]
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT).pid
    if child := os.fork():
        return child
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            train(folder, **changes)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    os._exit(0)


def incomplete(folder: Path) -> bool:
    """Whether the newest checkpoint is without its manifest."""
    found = sorted(folder.glob("checkpoints/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return bool(found) and not (found[-1] / MANIFEST).exists()


def kill_at_a_bad_moment(child: int, folder: Path, in_save: bool) -> bool:
    """SIGKILL `child` once it has saved something new: in the middle of the next save, or somewhere. False: it was done."""
    before, later = set(folder.glob(f"checkpoints/*/{MANIFEST}")), random.uniform(0, 0.2)
    while not set(folder.glob(f"checkpoints/*/{MANIFEST}")) - before:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    began = time.monotonic()
    while not incomplete(folder) if in_save else time.monotonic() - began < later:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.0002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def main() -> None:
    """FOLDER KILLS: train there undisturbed, and once more with KILLS kills; say whether the outcome is the same.

    FOLDER alone: train there.
    """
    if len(sys.argv) == 2:
        train(Path(sys.argv[1]))
        return
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    random.seed(kills)
    calm, killed, during_save = folder / "calm", folder / "killed", 0
    assert os.waitpid(fork(calm), 0)[1] == 0, (calm / "log").read_text()
    for number in range(kills):
        if not kill_at_a_bad_moment(fork(killed), killed, in_save=number % 2 == 0):
            sys.exit(f"the run ended after {number} kills: make it longer")
        during_save += incomplete(killed)
    assert os.waitpid(fork(killed), 0)[1] == 0, (killed / "log").read_text()
    log = (killed / "log").read_text()
    outcomes = [json.loads((where / "result.json").read_text()) for where in (calm, killed)]
    adapters = [(where / "adapter" / "adapter_model.safetensors").read_bytes() for where in (calm, killed)]
    report = {
        "kills": kills,
        "in the middle of a save": during_save,
        "incomplete checkpoints named": log.count("so it was not saved to its end"),
        "went on": log.count("going on from checkpoint-"),
        "steps": len(outcomes[0]["losses"]),
        "losses apart at most": max(
            abs(a[0] - b[0]) for a, b in zip(*(o["losses"].values() for o in outcomes), strict=True)
        ),
        "same losses, step by step": outcomes[0]["losses"] == outcomes[1]["losses"],
        "same validation, best checkpoint, steps timed": outcomes[0] == outcomes[1],
        "same adapter, bit for bit": adapters[0] == adapters[1],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
