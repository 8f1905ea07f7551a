"""What a training cell reports while it runs: progress, the time of each step, peak memory."""

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from torch.distributed.fsdp import FSDPModule
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.utils.notebook import NotebookProgressCallback


def peak_rss_gib() -> float:
    """GiB of RAM of this process at its peak."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # macOS counts bytes, Linux KiB


def peak_memory() -> tuple[str, float]:
    """("GPU", GiB allocated at the peak since the last reset) or, without a GPU, ("RAM", GiB at the peak)."""
    if torch.cuda.is_available():
        return "GPU", torch.cuda.max_memory_allocated() / 2**30
    return "RAM", peak_rss_gib()


PRINTED = 10.0  # seconds between two lines where a line cannot be rewritten


class Progress(TrainerCallback):
    """One line that is rewritten as the training goes on, in JupyterLab and in `make run` alike.

    A plain process prints lines instead, fewer of them, and of several processes the first one alone.
    """

    def __init__(self, interval: float = 1.0):
        self.interval = interval  # seconds between two updates
        self.line, self.loss, self.shown, self.silent = None, "", 0.0, False

    def _show(self, text: str) -> None:
        if self.silent:
            return
        if not InteractiveShell.initialized():
            print(text, flush=True)
            self.shown, self.interval = time.monotonic(), max(self.interval, PRINTED)
            return
        data, metadata = {"text/plain": text}, {"progress": True}
        if self.line is None:
            self.line = display(data, raw=True, metadata=metadata, display_id=True)
        else:
            self.line.update(data, raw=True, metadata=metadata)
        self.shown = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.began, self.first, self.silent = time.monotonic(), state.global_step, not state.is_world_process_zero
        self._show(f"step {state.global_step}/{state.max_steps}")

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **kwargs
    ) -> None:
        if "loss" in (logs or {}):
            self.loss = f" · loss {float(logs['loss']):.3f}"

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if time.monotonic() - self.shown >= self.interval:
            pace = (time.monotonic() - self.began) / max(1, state.global_step - self.first)
            left = pace * (state.max_steps - state.global_step)
            self._show(f"step {state.global_step}/{state.max_steps}{self.loss} · {pace:.2f} s/step · {left:.0f} s left")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        seconds = time.monotonic() - self.began
        self._show(f"{state.global_step} steps in {seconds:.0f} s, evaluation and checkpoints included{self.loss}")


class Stopwatch(TrainerCallback):
    """Times each optimiser step, evaluation and checkpoints left out, by the GPU's own clock where there is one.

    The times are saved with each checkpoint, and taken up again where a training goes on.
    """

    FILE = "step-seconds.json"

    def __init__(self) -> None:
        self.marks: list[tuple] = []  # the beginning and the end of each step
        self.earlier: list[float] = []  # seconds of the steps before this part of the run

    def _now(self):
        if not torch.cuda.is_available():
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # the CPU goes on; to wait here would cost time in every step
        event.record()
        return event

    @property
    def step_seconds(self) -> list[float]:
        if not torch.cuda.is_available():
            return self.earlier + [end - began for began, end in self.marks]
        torch.cuda.synchronize()
        return self.earlier + [began.elapsed_time(end) / 1000 for began, end in self.marks]

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.marks.clear()
        saved = Path(args.output_dir) / f"checkpoint-{state.global_step}" / self.FILE
        self.earlier = json.loads(saved.read_text()) if state.global_step and saved.is_file() else []
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.began = self._now()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.marks.append((self.began, self._now()))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        seconds = json.dumps(self.step_seconds)
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / self.FILE).write_text(seconds)

    def speed(self, trainer: Trainer) -> dict[str, float]:
        """Median seconds a step, tokens a second (prompt and completion, without padding), steps, and where it went on.

        The first step, which compiles and allocates, does not count where there are others.
        """
        tokens, seconds = max(entry.get("num_tokens", 0) for entry in trainer.state.log_history), self.step_seconds
        counted = seconds[1:] or seconds
        return {
            "step_s": statistics.median(counted),
            "tokens_per_s": tokens * len(counted) / len(seconds) / sum(counted),
            "steps": len(seconds),
            "resumed_at_step": len(self.earlier),  # 0: trained in one go, and the time of the training is all of it
        }


class ForwardIsOver(TrainerCallback):
    """Tells FSDP2 that an evaluation's forward is over, which PyTorch 2.11 does not notice (2.15 does).

    accelerate shards embedding and LM head as one group, and TRL's fused loss reads the head's weight without calling the
    head: FSDP goes on waiting for that call, and does not gather the embedding for the next forward. A backward clears it.
    """

    def on_evaluate(self, args, state, control, model=None, **kwargs) -> None:
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module._get_fsdp_state()._modules_to_run_forward.clear()  # nothing public does


def quiet(trainer: Trainer) -> Trainer:
    """Take out the callbacks that print or draw by themselves: Progress stands in for them.

    And in several processes let DDP not look for unused parameters: it takes time and warns in every process.
    """
    if trainer.is_fsdp_enabled:
        trainer.add_callback(ForwardIsOver())
    if trainer.accelerator.ddp_handler:
        trainer.accelerator.ddp_handler.find_unused_parameters = False
    for callback in (PrinterCallback, ProgressCallback, NotebookProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def loss_history(trainer: Trainer) -> dict[str, list[tuple[int, float]]]:
    """(step, loss) pairs as logged, under "training" and "held-out"."""
    history = trainer.state.log_history
    return {
        "training": [(entry["step"], float(entry["loss"])) for entry in history if "loss" in entry],
        "held-out": [(entry["step"], float(entry["eval_loss"])) for entry in history if "eval_loss" in entry],
    }
