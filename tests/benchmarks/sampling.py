"""Many samples to each problem: the record behind 04-Reasoning-Tuning/Evaluating-Reasoning.

    python -m tests.benchmarks.sampling --out FOLDER [--model PATH] [--name NAME] [--seeds 1,2,3] [--data stories]
        [--steps N] [--problems N] [--samples K] [--workers W] [--minutes M] [--quick]

For each seed a model is tuned for a moment on worked problems; then pass@k, majority vote and best of n by likelihood from
K samples of each held-out problem. The seeds are processes side by side, and share the device. Writes sampling-NAME.json
and prints a table; a seed that fails stays in the record. --quick: few steps and problems, one seed.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # many processes share one memory
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import shared  # noqa: F401  # isort: skip  (before the libraries: telemetry off)
import torch
import transformers
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from shared import evaluation, peft_training, receipts, sampling
from shared.data import DATA_DIR
from shared.data.problem_records import read_problems
from shared.data.problems import INSTRUCTION, parse_answer_number, worked
from shared.models import load_model, load_tokenizer
from shared.models.weights import find_weights
from shared.profile import PROFILES
from shared.training import Stopwatch, quiet
from tests.benchmarks.pool import collect

LENGTH, GPU = 256, torch.cuda.is_available()
WAYS = ("pass@k (a verifier chooses)", "majority vote", "likeliest per token")


@dataclass(frozen=True)
class Setting:
    """What is the same for all seeds."""

    weights: str
    data: str = "stories"  # of shared/data: NAME-train.jsonl and NAME-heldout.jsonl
    steps: int = 200
    batch: int = 8
    rate: float = 1e-3
    problems: int = 300
    samples: int = 64
    temperature: float = 0.8
    draw: int = 1024  # completions at a time


def start() -> None:
    """A worker: one thread, and no warnings that each run would repeat."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    transformers.logging.set_verbosity_error()


def choices(samples: int) -> list[int]:
    """The powers of two up to `samples`: for how many answers each way is measured."""
    return [2**power for power in range(samples.bit_length()) if 2**power <= samples]


def worth(rows: list[list[sampling.Sample]], truths: list[float]) -> dict[str, dict[int, list[float]]]:
    """For each way to choose and each k: what k samples are worth on each problem."""
    found = {way: {k: [] for k in choices(len(rows[0]))} for way in WAYS}
    for row, truth in zip(rows, truths, strict=True):
        answers = [parse_answer_number(sample.text) for sample in row]
        right, sure = [answer == truth for answer in answers], [sample.mean_log_prob for sample in row]
        for k in choices(len(row)):
            shares = (
                sampling.pass_at_k(len(row), sum(right), k),
                sampling.majority_share(answers, truth, k),
                sampling.best_of_share(sure, right, k),
            )
            for way, share in zip(WAYS, shares, strict=True):
                found[way][k].append(share)
    return found


def run(setting: Setting, seed: int) -> dict:
    """Tune one model and sample from it; what fails is a result, too."""
    began = time.time()
    try:
        return measure(setting, seed) | {"seed": seed, "wall_s": round(time.time() - began, 1)}
    except Exception as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]
        return {"seed": seed, "error": said, "wall_s": round(time.time() - began, 1)}


def measure(setting: Setting, seed: int) -> dict:
    """The scores of one seed."""
    files = [DATA_DIR / f"{setting.data}-{part}.jsonl" for part in ("train", "heldout")]
    train, heldout = read_problems(files[0]), read_problems(files[1])[: setting.problems]
    prompts, truths = ([record[field] for record in heldout] for field in ("prompt", "answer"))
    set_seed(seed)
    tokenizer, model = load_tokenizer(setting.weights), load_model(setting.weights, dtype=torch.float32)
    room = max(len(tokenizer(worked(record)["completion"])["input_ids"]) for record in heldout) + 4
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            max_steps=setting.steps,
            per_device_train_batch_size=setting.batch,
            learning_rate=setting.rate,
            lr_scheduler_type="cosine",
            warmup_steps=max(1, setting.steps // 20),
            max_length=LENGTH,
            gradient_checkpointing=False,
            bf16=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=max(1, setting.steps // 10),
            seed=seed,
            dataloader_pin_memory=False,
        )
        stopwatch = Stopwatch()
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list([worked(record) for record in train]),
            processing_class=tokenizer,
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
            callbacks=[stopwatch],
        )
        prefix = f"{INSTRUCTION}\n\n{train[0]['prompt']}{worked(train[0])['completion']}\n\n"
        untuned = evaluation.generate(trainer.model, tokenizer, prompts, room, 100, prefix=prefix)
        quiet(trainer).train()
    greedy = evaluation.generate(trainer.model, tokenizer, prompts, room, 100)
    set_seed(seed)
    sampled_at = time.time()
    rows = sampling.draw(
        trainer.model, tokenizer, prompts, setting.samples, room, setting.draw, temperature=setting.temperature
    )
    tokens = [sample.tokens for row in rows for sample in row]
    hits = {
        name: [parse_answer_number(text) == truth for text, truth in zip(texts, truths, strict=True)]
        for name, texts in (("before", untuned), ("greedy", greedy))
    }
    return hits | {
        "worth": worth(rows, truths),
        "tokens_each": round(statistics.fmean(tokens), 2),
        "sampled_tokens_per_s": round(sum(tokens) / (time.time() - sampled_at), 1),
        **stopwatch.speed(trainer),
        **receipts.parameter_counts(trainer.model),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 3) if GPU else None,
    }


def summary(runs: list[dict]) -> dict:
    """The scores over all seeds that finished: metrics before and after, and the curves."""
    done = [found for found in runs if not found.get("error")]
    if not done:
        return {"metrics": {}, "curves": {}, "ks": [], "tokens_each": None}

    def score(values: list[list[float]]) -> dict:
        return peft_training.seeds_score("right answers", values).as_dict()

    ks = list(done[0]["worth"][WAYS[0]])
    return {
        "metrics": {
            "before": score([found["before"] for found in done]),
            "after": score([found["greedy"] for found in done]),
        },
        "curves": {way: {str(k): score([found["worth"][way][k] for found in done]) for k in ks} for way in WAYS},
        "ks": ks,
        "tokens_each": round(statistics.fmean(found["tokens_each"] for found in done), 2),
    }


def compact(found: dict) -> dict:
    """A run as the record holds it: means in place of the values of each problem."""
    if found.get("error"):
        return found
    kept = {name: value for name, value in found.items() if name not in ("worth", "before", "greedy")}
    means = {way: {k: round(statistics.fmean(v), 4) for k, v in row.items()} for way, row in found["worth"].items()}
    return kept | {name: round(statistics.fmean(found[name]), 4) for name in ("before", "greedy")} | {"worth": means}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=PROFILES["small"].model, help="a folder, or a name on the Hub")
    parser.add_argument("--name", default="smollm2", help="of the model, in the receipt's name")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--data", default="stories", choices=("stories", "chains", "additions"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--draw", type=int, default=1024, help="completions that are drawn at a time")
    parser.add_argument("--workers", type=int, default=max(1, min(4, (os.cpu_count() or 1) - 2)))
    parser.add_argument("--minutes", type=float, default=9.0, help="what is not done by then is left out")
    parser.add_argument("--quick", action="store_true", help="at most 80 steps, 100 problems, 16 samples, one seed")
    args = parser.parse_args()
    began, seeds = time.time(), [int(seed) for seed in args.seeds.split(",")]
    revision = PROFILES["small"].revision if args.model == PROFILES["small"].model else None
    weights = find_weights(args.model, revision)
    options = {name: getattr(args, name) for name in "data steps rate problems samples temperature draw".split()}
    setting = Setting(weights.path, **options)
    if args.quick:
        seeds, few = seeds[:1], {"steps": 80, "problems": 100, "samples": 16}
        setting = replace(setting, **{name: min(value, getattr(setting, name)) for name, value in few.items()})
    args.out.mkdir(parents=True, exist_ok=True)
    runs, pool = [], ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn"), start)
    waiting = [pool.submit(run, setting, seed) for seed in seeds]

    def report(found: dict) -> None:
        runs.append(found)
        said = found.get("error") or f"greedy {statistics.fmean(found['greedy']):.1%}"
        print(f"[{time.time() - began:4.0f} s] seed {found['seed']}: {said}", flush=True)

    collect(pool, waiting, 60 * args.minutes, report)
    runs.sort(key=lambda found: found["seed"])
    done = [found for found in runs if not found.get("error")]
    result, first = summary(runs), done[0] if done else {}
    files = f"{setting.data}-train.jsonl", f"{setting.data}-heldout.jsonl"
    receipt = {
        "name": f"sampling-{args.name}",
        "notebook": "04-Reasoning-Tuning/Evaluating-Reasoning.ipynb",
        "profile": "tiny" if args.name == "tiny" else "full" if GPU else "small",
        "method": "LoRA on worked problems, then many samples of each problem",
        "model": args.model if weights.source != "folder" else Path(weights.path).name,
        "revision": revision,
        "weights_source": weights.source,
        "random_weights": False,
        "dataset": " and ".join(files),
        "dataset_sha256": json.loads((DATA_DIR / "MANIFEST.json").read_text())["files"][files[0]]["sha256"],
        **receipts.environment(),
        "seed": [found["seed"] for found in runs],
        "batch_size": setting.batch,
        "sequence_length": LENGTH,
        "accumulation": 1,
        **{name: first.get(name) for name in "trainable_parameters total_parameters weights_gib tokens_per_s".split()},
        "step_s": statistics.median(found["step_s"] for found in done) if done else None,
        "peak_gib_allocated": max((found["peak_gib"] or 0 for found in done), default=0) or None,
        "steps": setting.steps,
        "wall_s": round(time.time() - began, 1),
        "workers": args.workers,  # processes that shared the device: step_s is under their load
        "quick": args.quick,
        "temperature": setting.temperature,
        "setting": {name: value for name, value in asdict(setting).items() if name != "weights"},
        **result,
        "runs": [compact(found) for found in runs],
    }
    if not done:
        receipt["error"] = runs[0]["error"] if runs else "no seed was done in time"
    text = json.dumps(dict.fromkeys(receipts.KEYS) | receipt, indent=2, default=str)
    receipts.write_text(args.out / f"{receipt['name']}.json", text + "\n")
    for way, points in result["curves"].items():
        print(f"{way:30}" + "  ".join(f"{k}: {point['value']:.1%}" for k, point in points.items()))
    print(f"{len(done)} of {len(seeds)} seeds in {time.time() - began:.0f} s")
    sys.exit(len(done) < len(seeds))


if __name__ == "__main__":
    main()
