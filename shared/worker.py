"""What each process of `make train` does before and after the notebook's own cells (shared.launch puts both in the script)."""

import os
import sys
import traceback
from pathlib import Path

import torch

from shared.errors import FAILURES, CourseError
from shared.profile import Profile


def begin() -> None:
    """Take this process's GPU, print from the first process only, and let an error end the process at once."""
    if torch.cuda.is_available():
        torch.cuda.set_device(_number("LOCAL_RANK"))
    if _number("RANK"):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    sys.excepthook = fail


def fail(kind: type[BaseException], error: BaseException, where) -> None:
    """Say on stderr what happened, leave it for the launcher, and end: whoever waits for this process must not go on waiting.

    The process that failed first speaks at length; what the others meet is its absence.
    """
    own = str(error) or kind.__name__
    if not isinstance(error, CourseError):
        own = "".join(traceback.format_exception(kind, error, where)).strip()
    folder, rank = os.environ.get(FAILURES), _number("RANK")
    interrupted = issubclass(kind, KeyboardInterrupt)  # whoever did it knows
    told = interrupted or bool(folder and list(Path(folder).iterdir()))
    if not told:
        print(f"process {rank}:\n{own}", file=sys.stderr)
    if folder and not told and not _misses_another(error):
        first_line = (str(error).strip() or kind.__name__).splitlines()[0]
        named = isinstance(error, CourseError) or first_line == kind.__name__
        (Path(folder) / f"{rank}.txt").write_text(first_line if named else f"{kind.__name__}: {first_line}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130 if interrupted else 1)


def _misses_another(error: BaseException) -> bool:
    """Whether all that `error` says is that another process is gone."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "by peer" in str(error)


def finish(trainer, profile: Profile, notebook: str) -> None:
    """Save the adapter (or the model, without one) to OUTPUT_DIR/adapter, and the receipt, with the losses in it.

    `trainer`: a transformers Trainer. The receipt's memory and step time are those of the first process.
    """
    # Here, because the notebook has imported these by now, and `begin` need not wait for them.
    from shared.checkpoints import rows_sha256
    from shared.receipts import parameter_counts, write_receipt
    from shared.training import Stopwatch, loss_history

    if trainer.is_fsdp_enabled:  # checkpoints are in pieces; what is to be loaded elsewhere has to be whole
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(profile.output_dir / "adapter")
    size = parameter_counts(trainer.model)
    stopwatch = next(each for each in trainer.callback_handler.callbacks if isinstance(each, Stopwatch))
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        engine, processes = os.environ.get("COURSE_CONFIG", "one process"), trainer.args.world_size
        receipt = write_receipt(
            profile,
            notebook,
            metrics={},
            method=f"{engine}, processes: {processes}",
            processes=processes,
            dataset=profile.dataset or "the notebook's own",
            dataset_sha256=rows_sha256(trainer.train_dataset),
            batch_size=trainer.args.per_device_train_batch_size,
            sequence_length=profile.max_length,
            accumulation=trainer.args.gradient_accumulation_steps,
            losses=loss_history(trainer),
            **size,
            **{name: round(value, 4) for name, value in stopwatch.speed(trainer).items()},
            artefacts={"adapter": "adapter"},
        )
        print(
            f"{receipt['steps']} steps, {processes} process(es): adapter and result.json are in {profile.output_dir.name}"
        )
    trainer.accelerator.wait_for_everyone()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _number(variable: str) -> int:
    return int(os.environ.get(variable, "0"))
