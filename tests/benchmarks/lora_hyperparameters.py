"""LoRA's hyperparameters, one changed at a time, with several seeds: the record of Choosing-LoRA-Hyperparameters.

    python -m tests.benchmarks.lora_hyperparameters --out FOLDER [--model PATH] [--experiments rank alpha ...]
        [--steps N] [--workers K] [--seeds S ...] [--task all|support] [--generate N] [--budget SECONDS]

Writes a receipt for each experiment, lora-<experiment>-<model>.json, and prints the tables last. Several processes
share one GPU: a model this small keeps a GPU waiting for Python. No cell is begun after --budget seconds; what is
missing then, or failed, is said, and the receipts hold the others. Seed after seed is run, so that the first one is whole.
"""

import argparse
import json
import math
import multiprocessing
import queue
import statistics
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import torch

from shared import evaluation, peft_training, receipts, rules
from shared import experiments as lab
from shared.data import ORDERS_HELDOUT, ORDERS_TRAIN, load_examples
from shared.models import fetch_weights, load_model, load_tokenizer
from shared.profile import PROFILES, TINY_MODEL, load_profile

LENGTH = 256  # tokens; no example of the task is longer
RATES = {"tiny": 4e-3, "smollm2": 1e-3}  # of the base setting: those of the profiles tiny and small


def load_task(task: str, heldout: int) -> tuple[list[dict], list[dict], object]:
    """Training examples, held-out examples, and where they come from."""
    examples = load_examples(None, ORDERS_TRAIN, ORDERS_HELDOUT, seed=0)
    kept = [
        [e for e in part if task == "all" or '"support"' in e["completion"]]
        for part in (examples.train, examples.heldout)
    ]
    return kept[0], kept[1][:heldout], examples


def work(number: int, weights: str, options: argparse.Namespace, tasks, results) -> None:
    """One process: take a cell, train and measure it, until no cell is left or the budget is spent."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU: float32 weights, no casts for Python to launch
    tokenizer = load_tokenizer(weights)
    train, heldout, _ = load_task(options.task, options.heldout)
    heldout_batches = peft_training.make_batches(tokenizer, heldout, 25, max_length=LENGTH)
    base = None
    while time.time() < options.deadline:
        try:
            setting, seed, tries = tasks.get(timeout=1)
        except queue.Empty:
            return
        began = time.time()
        result = {"settings": asdict(setting), "seed": seed}
        try:
            base = base or load_model(weights, dtype=torch.float32)
            batches = lab.make_batches(tokenizer, train, setting, seed, LENGTH)
            model, result = lab.train(base, batches, setting, seed)
            del result["history"]
            result["heldout_loss"] = round(lab.heldout_loss(model, heldout_batches), 5)
            if options.generate:
                with lab.mixed(model):
                    score = evaluation.evaluate(model, tokenizer, heldout[: options.generate], batch_size=100)
                result["exact_match"] = score["exact match"].as_dict()
            lab.release(model)
        except torch.OutOfMemoryError as error:  # of what the processes share: later, when others are done
            result["error"], base = f"OutOfMemoryError: {str(error).splitlines()[0][:200]}", None
        except Exception as error:  # a cell that fails is a result, and the others go on
            result["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
            traceback.print_exc()
            base = None  # it may still hold the adapter
        model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if base is None and result["error"].startswith("OutOfMemoryError") and tries < 4:
            time.sleep(5)
            tasks.put((setting, seed, tries + 1))
            continue
        result["wall_s"] = round(time.time() - began, 2)
        results.put((number, result))


def collect(cells: list, weights: str, options: argparse.Namespace) -> list[dict]:
    """Run `cells` in `options.workers` processes; what is lost with a process that dies is missing from the list."""
    context = multiprocessing.get_context("spawn")
    tasks, results = context.Queue(), context.Queue()
    for cell in cells:
        tasks.put((*cell, 0))
    processes = [
        context.Process(target=work, args=(number, weights, options, tasks, results), daemon=True)
        for number in range(min(options.workers, len(cells)))
    ]
    for process in processes:
        process.start()
    runs, began = [], time.time()
    while len(runs) < len(cells):
        try:
            number, run = results.get(timeout=2)
        except queue.Empty:
            if not any(process.is_alive() for process in processes) and results.empty():
                break
            continue
        runs.append(run)
        outcome = run.get("error") or f"held-out loss {run['heldout_loss']:.4f}, {run['step_s']:.3f} s a step"
        print(
            f"{time.time() - began:4.0f} s [{len(runs)}/{len(cells)}] process {number}, seed {run['seed']}: {outcome}",
            flush=True,
        )
    for process in processes:
        process.join(timeout=10)
        if process.is_alive():
            process.terminate()
    return runs


def summary(plan: dict, runs: list[dict]) -> str:
    """A table with a line for each setting of each experiment."""
    lines = [
        "| experiment | setting | held-out loss | scatter | exact match | trained parameters | s/step | seeds |",
        "|" + "---|" * 8,
    ]
    for experiment, settings in plan.items():
        for name, setting in settings.items():
            found = [run for run in runs if run["settings"] == asdict(setting) and "error" not in run]
            if not found:
                lines.append(f"| {experiment} | {name} | missing | | | | | 0 |")
                continue
            losses = [run["heldout_loss"] for run in found]
            matches = [run["exact_match"]["value"] for run in found if "exact_match" in run]
            lines.append(
                f"| {experiment} | {name} | {statistics.fmean(losses):.4f} "
                f"| {statistics.stdev(losses) if len(losses) > 1 else math.nan:.4f} "
                f"| {f'{statistics.fmean(matches):.1%}' if matches else '–'} | {found[0]['trainable_parameters']:,} "
                f"| {statistics.median(run['step_s'] for run in found):.3f} | {len(found)} |"
            )
    return "\n".join(lines)


def receipt_text(receipt: dict) -> str:
    """JSON with a line for each run."""
    head = json.dumps({key: value for key, value in receipt.items() if key != "runs"}, indent=2, default=str)
    return (
        f'{head[:-2]},\n  "runs": [\n    ' + ",\n    ".join(json.dumps(run) for run in receipt["runs"]) + "\n  ]\n}\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the experiments, write the receipts, print the tables."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.lora_hyperparameters")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", help="a folder or a Hub name; SmolLM2-135M-Instruct where it is left out; or tiny")
    parser.add_argument(
        "--experiments", nargs="+", choices=("rank", "alpha", "targets", "learning-rate", "dropout", "data")
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=8 if gpu else 1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--task", choices=("all", "support"), default="all")
    parser.add_argument("--heldout", type=int, default=200, help="held-out prompts whose loss is measured")
    parser.add_argument("--generate", type=int, default=100 if gpu else 0, help="of these, how many are answered")
    parser.add_argument("--budget", type=float, default=420.0, help="seconds after which no cell is begun")
    options = parser.parse_args(arguments)
    began, options.deadline = time.time(), time.time() + options.budget

    tiny = options.model == "tiny"
    environment = {"PROFILE": "tiny" if tiny else "small"} | (
        {} if tiny or not options.model else {"MODEL": options.model}
    )
    profile = fetch_weights(load_profile("lora-hyperparameters", environment))
    tiny = tiny or Path(profile.weights).resolve() == TINY_MODEL
    model, tokenizer = load_model(profile.weights, dtype=torch.float32), load_tokenizer(profile.weights)
    suffix = (
        "tiny"
        if tiny
        else "smollm2"
        if "smollm2" in f"{profile.model}{profile.weights}".lower()
        else Path(profile.model).name.lower()
    )
    base = lab.Setting(learning_rate=RATES.get(suffix, 1e-3), steps=options.steps, batch_size=options.batch)
    attention_rank = lab.matching_rank(model, "attention", base.rank)
    plan = {name: {"base": base} | part for name, part in rules.plan(base, attention_rank).items()}
    plan = {name: part for name, part in plan.items() if name in (options.experiments or plan)}
    _, heldout, examples = load_task(options.task, options.heldout)
    untrained = lab.heldout_loss(model, peft_training.make_batches(tokenizer, heldout, 25, max_length=LENGTH))
    about, known_rules = receipts.parameter_counts(model), rules.rules(base, attention_rank)
    settings = sorted({s for part in plan.values() for s in part.values()}, key=lambda s: -s.steps)
    cells = [(setting, seed) for seed in options.seeds for setting in settings]
    steps = sum(setting.steps for setting, _ in cells)
    print(
        f"{len(cells)} cells, {steps:,} steps, {len(heldout)} held-out prompts, untrained loss {untrained:.3f}",
        flush=True,
    )
    del model

    runs = collect(cells, profile.weights, options)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, part in plan.items():
        wanted = [asdict(setting) for setting in part.values()]
        mine = sorted(
            (r for r in runs if r["settings"] in wanted), key=lambda r: (wanted.index(r["settings"]), r["seed"])
        )
        of_base = [run for run in mine if run["settings"] == asdict(base) and "error" not in run]
        step_s = statistics.median(run["step_s"] for run in of_base) if of_base else None
        receipt = dict.fromkeys(receipts.KEYS) | about | receipts.environment()
        receipt |= {
            "name": f"lora-{name}-{suffix}",
            "notebook": "02-PEFT/Choosing-LoRA-Hyperparameters.ipynb",
            "profile": "tiny" if tiny else "full" if gpu else "small",
            "method": "LoRA, one setting changed at a time" + (", full fine-tuning" if name == "learning-rate" else ""),
            "model": "falcon-tiny" if tiny else PROFILES["small"].model if suffix == "smollm2" else suffix,
            "revision": PROFILES["small"].revision if suffix == "smollm2" else None,
            "random_weights": receipts.is_random(profile),
            "dataset": examples.source + (", support requests alone" if options.task == "support" else ""),
            "dataset_sha256": examples.sha256,
            "seed": options.seeds,
            "batch_size": options.batch,
            "sequence_length": LENGTH,
            "accumulation": 1,
            "trainable_parameters": of_base[0]["trainable_parameters"] if of_base else None,
            "peak_gib_allocated": None,
            "step_s": step_s,
            "steps": options.steps,
            "tokens_per_s": of_base and round(of_base[0]["tokens"] / options.steps / step_s, 1),
            "wall_s": round(time.time() - began, 1),
            "workers": options.workers,  # processes that shared the device: step_s is under their load
            "heldout_prompts": len(heldout),
            "attention_rank": attention_rank,  # at which attention alone has as many parameters
            "untrained_loss": round(untrained, 5),
            "missing": len(set(part.values())) * len(options.seeds) - len(mine),
            "metrics": {},
            "runs": mine,
        }
        receipts.write_text(options.out / f"{receipt['name']}.json", receipt_text(receipt))

    print(f"\n{summary(plan, runs)}\n\n| rule | verdict | measured |\n|---|---|---|")
    for rule in known_rules:
        found = rules.judge(rule, runs)
        print(f"| {rule.text} | {found['verdict']} | {found['measured']} |")
    failed = sum("error" in run for run in runs)
    print(
        f"\n{len(runs) - failed} of {len(cells)} cells done, {failed} failed, {len(cells) - len(runs)} missing; {time.time() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
