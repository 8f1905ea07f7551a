"""How much data is enough? Good answers against the number of training chats: Data-for-Instruction-Tuning's record.

    python -m tests.benchmarks.learning_curve --out FOLDER [--model PATH --name smollm2] [--rate R] [--steps N] [--prompts N]
        [--workers N] [--quick]

Each size is trained with three seeds and the same number of steps; a seed draws the chats and starts the adapter. Processes
share one device. Writes learning-curve-NAME.json; a cell that failed is told there, and the others stand. `--quick` is for
trying the program: two sizes, one seed, few steps.
"""

import argparse
import json
import statistics
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

from shared import evaluation, peft_training, receipts, rubrics
from shared import experiments as lab
from shared.data import chats
from shared.data.orders import DATA_DIR
from shared.data.records import to_examples
from shared.data.templates import use_template
from shared.models import load_model, load_tokenizer
from shared.models.weights import find_weights
from shared.profile import PROFILES, TINY_MODEL

SIZES, SEEDS, LENGTH, NEW_TOKENS = (50, 100, 200, 400, 1200), (1, 2, 3), 256, 60


def load(part: str, count: int | None = None) -> tuple[list[dict], list[dict]]:
    """Records of chats-`part`.jsonl, and the examples made of them."""
    lines = (DATA_DIR / f"chats-{part}.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    rows = [json.loads(line) for line in lines]
    return rows, to_examples([chats.to_messages(row, system=None) for row in rows])


def score(model, tokenizer, options: argparse.Namespace, shown: list[dict]) -> list[bool]:
    """Which of the held-out chats get a good answer; `shown` are turns that stand before each."""
    rows, examples = load("heldout", options.prompts)
    prompts = [shown + example["prompt"] for example in examples]
    with lab.mixed(model):
        told = evaluation.generate(model, tokenizer, prompts, NEW_TOKENS, 100, first_line_only=True)
    return [rubrics.good_answer(answer, row) for answer, row in zip(told, rows, strict=True)]


def untuned(weights: str, options: argparse.Namespace) -> dict:
    """The untuned model with instruction and worked example."""
    tokenizer, model = use_template(load_tokenizer(weights)), load_model(weights, dtype=torch.float32)
    shown = chats.to_messages(load("train", 1)[0][0], system=chats.INSTRUCTION)["messages"]
    return {"good": score(model, tokenizer, options, shown), **receipts.parameter_counts(model)}


def cell(weights: str, options: argparse.Namespace, size: int, seed: int) -> dict:
    """Train on `size` chats and measure."""
    began = time.time()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    tokenizer, model = use_template(load_tokenizer(weights)), load_model(weights, dtype=torch.float32)
    setting = lab.Setting(learning_rate=options.rate, steps=options.steps, batch_size=options.batch, examples=size)
    batches = lab.make_batches(tokenizer, load("train")[1], setting, seed, LENGTH)
    model, run = lab.train(model, batches, setting, seed)
    del run["history"]
    heldout = peft_training.make_batches(tokenizer, load("heldout", options.prompts)[1], 25, max_length=LENGTH)
    run |= {"size": size, "heldout_loss": round(lab.heldout_loss(model, heldout), 5)}
    run["good"] = score(model, tokenizer, options, [])
    if torch.cuda.is_available():
        run["peak_gib_allocated"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
        run["peak_gib_reserved"] = round(torch.cuda.max_memory_reserved() / 2**30, 3)
    return run | {"wall_s": round(time.time() - began, 1)}


def collect(weights: str, options: argparse.Namespace) -> tuple[dict, list[dict]]:
    """The untuned model, and a run for each size and seed; one that failed holds `error`."""
    runs: list[dict] = []
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        base = pool.submit(untuned, weights, options)
        tasks = {pool.submit(cell, weights, options, n, s): (n, s) for s in options.seeds for n in options.sizes}
        for task in as_completed(tasks):
            size, seed = tasks[task]
            try:
                run = task.result()
                print(f"{size:5} chats, seed {seed}: good answers {statistics.fmean(run['good']):.1%}", flush=True)
            except Exception as error:  # a cell that fails is a result, and the others go on
                traceback.print_exception(error)
                run = {"size": size, "seed": seed, "error": f"{type(error).__name__}: {str(error)[:200]}"}
            runs.append(run)
        return base.result(), sorted(runs, key=lambda run: (run["size"], run["seed"]))


def receipt(options: argparse.Namespace, found, base: dict, runs: list[dict], wall_s: float) -> dict:
    """The record; `good` of each run becomes a share."""
    tiny = Path(found.path).resolve() == TINY_MODEL
    small = options.name == "smollm2"
    done = [run for run in runs if "error" not in run]
    sizes = {
        str(size): peft_training.seeds_score("good answers", good).as_dict()
        for size in options.sizes
        if (good := [[float(hit) for hit in run["good"]] for run in done if run["size"] == size])
    }
    for run in done:
        run["good_answers"] = round(statistics.fmean(run.pop("good")), 4)
    step_s = statistics.median(run["step_s"] for run in done) if done else None
    peaks = {
        key: max((run.get(key, 0.0) for run in done), default=0.0) or None
        for key in ("peak_gib_allocated", "peak_gib_reserved")
    }
    metrics = {}
    if sizes:
        before = evaluation.share_score("good answers", base["good"]).as_dict()
        metrics = {"before": before, "after": sizes[max(sizes, key=int)], "sizes": sizes}
    hashes = json.loads((DATA_DIR / "MANIFEST.json").read_text(encoding="utf-8"))["files"]
    made = dict.fromkeys(receipts.KEYS) | receipts.environment() | peaks
    made |= {
        "name": f"learning-curve-{options.name}",
        "notebook": "03-Instruction-Tuning/Data-for-Instruction-Tuning.ipynb",
        "profile": "tiny" if tiny else "full" if torch.cuda.is_available() else "small",
        "method": "LoRA, r=16, alpha=32, on all linear layers; last answers",
        "model": "falcon-tiny" if tiny else PROFILES["small"].model if small else options.name,
        "revision": PROFILES["small"].revision if small else None,
        "random_weights": False,
        "dataset": "chats-train.jsonl and chats-heldout.jsonl",
        "dataset_sha256": hashes["chats-train.jsonl"]["sha256"],
        "seed": list(options.seeds),
        "batch_size": options.batch,
        "sequence_length": LENGTH,
        "accumulation": 1,
        "trainable_parameters": done[0]["trainable_parameters"] if done else None,
        "total_parameters": base["total_parameters"] + (done[0]["trainable_parameters"] if done else 0),
        "weights_gib": base["weights_gib"],
        "step_s": step_s,
        "steps": options.steps,
        "tokens_per_s": round(done[0]["tokens"] / options.steps / step_s, 1) if done else None,
        "wall_s": wall_s,
        "workers": options.workers,  # processes that shared the device: step_s is under their load
        "learning_rate": options.rate,
        "metrics": metrics,
        "runs": runs,
    }
    return made if done else made | {"error": runs[0]["error"]}


def main(arguments: list[str] | None = None) -> None:
    """Run all cells, write the receipt, print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.learning_curve")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--model", default=str(TINY_MODEL), help="a folder, or a name on the Hub; falcon-tiny if left out"
    )
    parser.add_argument("--name", default="tiny", help="how the receipt is called; smollm2 for SmolLM2-135M-Instruct")
    parser.add_argument("--rate", type=float, help="4e-3 for tiny, 1e-3 for others")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--workers", type=int, default=6 if torch.cuda.is_available() else 1)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    options.rate = options.rate or (4e-3 if options.name == "tiny" else 1e-3)
    options.sizes, options.seeds = SIZES, SEEDS
    if options.quick:
        options.sizes, options.seeds = (50, 1200), (1,)
        options.steps, options.prompts = min(options.steps, 20), min(options.prompts, 100)
    began = time.time()
    options.out.mkdir(parents=True, exist_ok=True)
    revision = PROFILES["small"].revision if options.model == PROFILES["small"].model else None
    found = find_weights(options.model, revision)
    base, runs = collect(found.path, options)
    made = receipt(options, found, base, runs, round(time.time() - began, 1))
    receipts.write_text(options.out / f"{made['name']}.json", json.dumps(made, indent=2, default=str) + "\n")
    print(
        f"\nuntuned, instruction and example: {statistics.fmean(base['good']):.1%}\n\n| chats | good answers |\n|---|---|"
    )
    for size, value in made["metrics"].get("sizes", {}).items():
        print(f"| {size} | {evaluation.Score(**value)} |")
    print(f"\n{sum('error' not in run for run in runs)} of {len(runs)} cells done in {made['wall_s']:.0f} s")


if __name__ == "__main__":
    main()
