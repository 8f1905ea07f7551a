"""Loss against parameters and tokens: four small Falcons pretrained from nothing, the record of Pretraining-a-Tiny-Falcon.

    python -m tests.benchmarks.scaling --out FOLDER [--workers N] [--budget SECONDS] [--quick]

Writes the receipt scaling.json. Every size is trained on every number of tokens by the recipe of falcon-tiny (Muon and
AdamW), each time with a schedule of that length and with three seeds, which set weights and text. Beside that, all at
the middle number of tokens: the smallest and the largest at half and twice the learning rate, and the largest with
AdamW alone at four rates. Several processes share a GPU: models this small keep it waiting for Python. Text is never
repeated, and no BPE dropout is used. `--quick` checks the program in about two minutes on a CPU: its numbers say nothing.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import FalconForCausalLM, set_seed

from shared import receipts
from shared.data.corpus import documents
from shared.models import load_tokenizer, tiny
from shared.profile import TINY_MODEL
from tests.benchmarks.lora_hyperparameters import receipt_text

SIZES = ((64, 2), (128, 2), (192, 3), (256, 5))  # width, layers; the last is falcon-tiny's
ADAMW_RATES = (1e-3, 3e-3, 6e-3, 1.2e-2)
HELDOUT_SEED, HELDOUT_ROWS = 10_000, 128


@dataclass(frozen=True)
class Plan:
    """How much is trained: optimiser steps of each budget, seeds, and the shape of a batch."""

    steps: tuple[int, ...] = (100, 300, 900)
    seeds: tuple[int, ...] = (1, 2, 3)
    batch_size: int = 32
    length: int = 256


QUICK = Plan(steps=(10, 20, 40), seeds=(1, 2), batch_size=4, length=128)


@dataclass(frozen=True)
class Run:
    """One training. `rate` is a factor on the recipe's rates, or AdamW's own where it is alone."""

    part: str  # scaling | rate | adamw
    width: int
    layers: int
    steps: int
    seed: int
    rate: float = 1.0


def runs_of(plan: Plan) -> list[Run]:
    """All trainings, the longest first."""
    middle, small, large = plan.steps[len(plan.steps) // 2], SIZES[0], SIZES[-1]
    runs = []
    for seed in plan.seeds:
        runs += [Run("scaling", *size, steps, seed) for size in SIZES for steps in plan.steps]
        runs += [Run("rate", *size, middle, seed, factor) for size in (small, large) for factor in (0.5, 2.0)]
        runs += [Run("adamw", *large, middle, seed, rate) for rate in ADAMW_RATES]
    return sorted(runs, key=lambda run: -run.steps * run.layers)


def write_tokens(folder: Path, seed: int, plan: Plan, rows: int) -> Path:
    """`rows` rows of the text of `seed`, tokenised, as a .npy file; a worker reads from it what it needs."""
    path = folder / f"{seed}.npy"
    tokenizer = load_tokenizer(TINY_MODEL)
    packed = next(tiny.packed_rows(tokenizer, documents(seed), rows, plan.length))
    np.save(path, packed.numpy().astype(np.int16))
    return path


def read_batches(folder: Path, seed: int, batch_size: int) -> Iterator[torch.Tensor]:
    """The rows of `seed`, in batches."""
    stored = np.load(folder / f"{seed}.npy", mmap_mode="r")
    for start in range(0, len(stored) - batch_size + 1, batch_size):
        yield torch.from_numpy(stored[start : start + batch_size].astype(np.int64))


@torch.no_grad()
def heldout_loss(model: FalconForCausalLM, folder: Path, batch_size: int) -> float:
    """Nats per token on the held-out rows."""
    losses = []
    for batch in read_batches(folder, HELDOUT_SEED, batch_size):
        rows = batch.to(model.device)
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            losses.append(model(input_ids=rows, labels=rows).loss.item())
    return round(statistics.fmean(losses), 5)


def optimizers_of(model: FalconForCausalLM, run: Run) -> list[torch.optim.Optimizer]:
    """The recipe's two, at the rates of `run`, or AdamW for everything."""
    if run.part == "adamw":
        return [torch.optim.AdamW(model.parameters(), lr=run.rate, weight_decay=0.0)]
    optimizers = tiny.build_optimizers(model)
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] *= run.rate
    return optimizers


def measure(run: Run, plan: Plan, folder: Path, device: str) -> dict:
    """Train one model and measure it; the longest runs are measured on the way, too, where the shorter ones end."""
    torch.set_num_threads(1)
    set_seed(run.seed)
    model = tiny.build_model(load_tokenizer(TINY_MODEL), run.width, run.layers).to(device)
    along, began = {}, time.perf_counter()

    def look(step: int, losses: list[torch.Tensor]) -> None:
        if run.part == "scaling" and step < run.steps == plan.steps[-1] and step in plan.steps:
            along[str(step)] = heldout_loss(model, folder, plan.batch_size)

    def rate(step: int, steps: int) -> float:
        return tiny.schedule(step, steps, warmup=max(1, steps // 10))  # in proportion: the shortest run has few steps

    tiny.train(model, read_batches(folder, run.seed, plan.batch_size), optimizers_of(model, run), run.steps, look, rate)
    return asdict(run) | {
        "parameters": sum(p.numel() for p in model.transformer.h.parameters()),
        "tokens": run.steps * plan.batch_size * plan.length,
        "heldout_loss": heldout_loss(model, folder, plan.batch_size),
        "along": along,
        "wall_s": round(time.perf_counter() - began, 2),
    }


def attempt(task: Callable, deadline: float, run: Run, *arguments) -> dict:
    """`task(run, ...)`, unless the time is past `deadline`; a training that fails is a result too."""
    try:
        if time.time() > deadline:
            raise TimeoutError("not begun: the budget of seconds was spent")
        return task(run, *arguments)
    except Exception as error:
        return asdict(run) | {
            "error": f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        }


def text_size() -> tuple[int, int]:
    """Tokens, end tokens included, and bytes of 1,000 documents: what nats per token are turned into bits per byte by."""
    texts = list(itertools.islice(documents(HELDOUT_SEED), 1000))
    tokens = sum(len(ids) + 1 for ids in load_tokenizer(TINY_MODEL)(texts)["input_ids"])
    return tokens, sum(len(text.encode()) for text in texts)


def main(arguments: list[str] | None = None) -> None:
    """Run everything, write the receipt, print a table."""
    gpus = torch.cuda.device_count()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=12 if gpus else 1)
    parser.add_argument("--budget", type=float, default=480.0, help="seconds after which no training is begun")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    plan, began = QUICK if options.quick else Plan(), time.time()
    todo, done = runs_of(plan), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pool = ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn"))
        with pool:
            rows = {seed: plan.steps[-1] * plan.batch_size for seed in plan.seeds} | {HELDOUT_SEED: HELDOUT_ROWS}
            list(pool.map(write_tokens, itertools.repeat(folder), rows, itertools.repeat(plan), rows.values()))
            print(f"{len(todo)} trainings, text ready after {time.time() - began:.0f} s", flush=True)
            devices = itertools.cycle([f"cuda:{gpu}" for gpu in range(gpus)] or ["cpu"])
            futures = [
                pool.submit(attempt, measure, began + options.budget, run, plan, folder, next(devices)) for run in todo
            ]
            for future in as_completed(futures):
                run = future.result()
                done.append(run)
                outcome = run.get("error") or f"{run['heldout_loss']:.4f} nats per token, {run['wall_s']:.0f} s"
                print(
                    f"{time.time() - began:4.0f} s [{len(done)}/{len(todo)}] {run['part']}, {run['width']} x "
                    f"{run['layers']}, {run['steps']} steps, seed {run['seed']}: {outcome}",
                    flush=True,
                )

    order = {
        run: place
        for place, run in enumerate(
            sorted(todo, key=lambda r: (r.part != "scaling", r.part, r.width, r.steps, r.rate, r.seed))
        )
    }
    done.sort(key=lambda run: order[Run(**{key: run[key] for key in Run.__dataclass_fields__})])
    right = [run for run in done if "error" not in run]
    largest = [run for run in right if run["part"] == "scaling" and run["width"] == SIZES[-1][0]]
    tokens, size = text_size()
    receipt = (
        dict.fromkeys(receipts.KEYS)
        | receipts.environment()
        | {
            "name": "scaling",
            "notebook": "01-Foundations/Pretraining-a-Tiny-Falcon.ipynb",
            "profile": "full" if gpus else "tiny",
            "method": "pretraining from nothing, Muon and AdamW",
            "model": "Falcons of four sizes",
            "random_weights": False,
            "dataset": "shared/data/corpus.py",
            "seed": list(plan.seeds),
            "batch_size": plan.batch_size,
            "sequence_length": plan.length,
            "accumulation": 1,
            "trainable_parameters": max((run["parameters"] for run in right), default=None),
            "step_s": statistics.median(run["wall_s"] / run["steps"] for run in largest) if largest else None,
            "steps": sum(run["steps"] for run in right),
            "tokens_per_s": round(
                sum(run["tokens"] for run in right) / (time.time() - began)
            ),  # of all processes together
            "wall_s": round(time.time() - began, 1),
            "workers": options.workers,  # processes that shared the device: step_s is under their load
            "quick": options.quick,
            "heldout_tokens": HELDOUT_ROWS * plan.length,
            "tokens_per_byte": round(tokens / size, 5),
            "failed": len(done) - len(right),
            "metrics": {},
            "runs": done,
        }
    )
    options.out.mkdir(parents=True, exist_ok=True)
    receipts.write_text(options.out / "scaling.json", receipt_text(json.loads(json.dumps(receipt))))
    print(f"{len(right)} of {len(todo)} trainings done in {receipt['wall_s']:.0f} s: {options.out / 'scaling.json'}")


if __name__ == "__main__":
    main()
