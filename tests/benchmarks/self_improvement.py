"""Three rounds of STaR, GRPO and distillation at equal compute: the record behind 04-Reasoning-Tuning/Self-Improvement.

    python -m tests.benchmarks.self_improvement --out FOLDER [--model PATH] [--name NAME] [--seeds 1,2,3]
        [--data comparisons|additions] [--problems N] [--pool N] [--rounds R] [--generations G] [--completions C]
        [--workers W] [--minutes M] [--quick]

For each seed a model is warmed up for a moment, and everything starts from there: STaR (tune on the model's own right
samples, from the warm-up again in each round), the same without a restart, without a filter, GRPO until it has cost as much
arithmetic as STaR, and tuning on the right greedy answers of the model that GRPO made. Greedy accuracy on held-out problems. The
seeds are processes side by side, and share the device. Writes self-improvement-NAME.json and prints a table; a seed that
fails stays in the record. --quick: few steps and problems, one seed.
"""

import argparse
import gc
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import shared  # noqa: F401  # isort: skip  (before the libraries: telemetry off)
from datasets import Dataset
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import TrainerCallback, set_seed
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from shared import evaluation, peft_training, receipts, sampling
from shared.data import DATA_DIR
from shared.data.problem_records import read_problems
from shared.data.problems import direct, is_held_out, parse_answer_number, worked
from shared.models import load_model, load_tokenizer
from shared.models.weights import find_weights
from shared.profile import PROFILES
from shared.rewards import checked, correctness, true_sums
from shared.training import quiet
from tests.benchmarks.grpo import GPU, common, in_float32, start
from tests.benchmarks.pool import collect

DRAWN, TRAINED = 2, 4  # operations for each parameter and token: forward; forward and backward past frozen weights
SETTINGS = {  # what depends on the data
    "additions": {"warm_steps": 24, "warm_rate": 6e-3, "tune_rate": 2e-3, "rate": 5e-4, "generations": 4, "room": 54},
    "comparisons": {
        "warm_steps": 16,
        "warm_rate": 5e-4,
        "tune_rate": 1e-3,
        "rate": 3e-4,
        "generations": 4,
        "completions": 64,  # 16 prompts a step; with 4 some seeds learn nothing
        "room": 6,
    },
}


@dataclass(frozen=True)
class Setting:
    """What is the same for all seeds."""

    weights: str
    data: str
    warm_steps: int
    warm_rate: float
    tune_rate: float
    rate: float  # of GRPO
    generations: int
    room: int
    pool: int = 96
    samples: int = 4
    rounds: int = 3
    tune_steps: int = 16
    completions: int = 32
    problems: int = 200
    folder: str = ""


def comparison(rng: random.Random, heldout: bool) -> dict:
    """Which of two numbers is larger? Half of the pairs share their tens."""
    while True:
        first, second = rng.randrange(10, 100), rng.randrange(10, 100)
        second = first // 10 * 10 + second % 10 if rng.random() < 0.5 else second
        if first != second and is_held_out([str(first), str(second)]) == heldout:
            kind = "same tens" if first // 10 == second // 10 else "other tens"
            prompt = f"Q: Which number is larger, {first} or {second}?\nA:"
            return {"prompt": prompt, "answer": max(first, second), "pair": (first, second), "kind": kind}


def problems(setting: Setting, seed: int) -> tuple[list[dict], list[dict], list[dict]]:
    """The pool, held-out problems, and the examples of the warm-up."""
    rng = random.Random(seed)
    if setting.data == "comparisons":
        warm, pool = ([comparison(rng, False) for _ in range(count)] for count in (300, setting.pool))
        examples = [{"prompt": record["prompt"], "completion": f" {rng.choice(record['pair'])}"} for record in warm]
        return pool, [comparison(rng, True) for _ in range(setting.problems)], examples
    records = read_problems(DATA_DIR / "additions-train.jsonl")
    sizes = {size: [r | {"kind": f"{size} digits"} for r in records if r["size"] == size] for size in (2, 3)}
    far = setting.pool // 5
    pool = rng.sample(sizes[2][:400], setting.pool - far) + rng.sample(sizes[3], far)
    examples = [worked(record) if rng.random() < 0.4 else direct(record) for record in sizes[2][400:]]
    heldout = [r | {"kind": "2 digits"} for r in read_problems(DATA_DIR / "additions-practised.jsonl")]
    return pool, heldout[: setting.problems], examples


def right(rows: Sequence[Sequence[sampling.Sample]], records: Sequence[dict]) -> list[list[bool]]:
    """For each problem, which of its samples give the right number."""
    return [[parse_answer_number(s.text) == r["answer"] for s in row] for row, r in zip(rows, records, strict=True)]


def keep(rows: Sequence[Sequence[sampling.Sample]], records: Sequence[dict]) -> list[dict]:
    """An example of the first right sample of each problem that has one."""
    kept = []
    for row, hits, record in zip(rows, right(rows, records), records, strict=True):
        texts = [sample.text for sample, hit in zip(row, hits, strict=True) if hit]
        kept += [{"prompt": record["prompt"], "completion": text} for text in texts[:1]]
    return kept


def describe(rows: Sequence[Sequence[sampling.Sample]], records: Sequence[dict], kept: Sequence[dict]) -> dict:
    """What a round has drawn: shares by kind of problem, how different its samples are, and doubtful ones that are kept."""
    hits, kinds = right(rows, records), sorted({record["kind"] for record in records})
    by_kind = {kind: [row for row, r in zip(hits, records, strict=True) if r["kind"] == kind] for kind in kinds}
    sums = [true_sums(example["completion"]) for example in kept]
    return {
        "right": {kind: round(statistics.fmean(map(statistics.fmean, some)), 4) for kind, some in by_kind.items()},
        "solved": {kind: round(statistics.fmean(map(any, some)), 4) for kind, some in by_kind.items()},
        "different": round(statistics.fmean(len({sample.text for sample in row}) / len(row) for row in rows), 4),
        "kept": len(kept),
        "kept with a false sum": sum(not all(held) for held in sums),
        "kept without a sum": sum(not held for held in sums),
    }


class Budget(TrainerCallback):
    """Stops GRPO once its tokens, generated and trained on, have cost `operations` for each parameter."""

    def __init__(self, operations: float):
        self.operations = operations

    def on_log(self, args, state, control, logs=None, **kwargs):
        control.should_training_stop |= (DRAWN + TRAINED) * (logs or {}).get("num_tokens", 0) >= self.operations


class Bench:
    """A model with one adapter, which starts from the warm-up again as often as it is asked to."""

    def __init__(self, setting: Setting, seed: int):
        self.setting, self.seed = setting, seed
        set_seed(seed)
        self.tokenizer, base = load_tokenizer(setting.weights), load_model(setting.weights)
        self.model = get_peft_model(
            base, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
        )
        in_float32(self.model)

    def state(self) -> dict:
        return {name: value.detach().clone() for name, value in get_peft_model_state_dict(self.model).items()}

    def restart(self, state: dict) -> None:
        set_peft_model_state_dict(self.model, state)

    def tune(self, examples: list[dict], steps: int, rate: float) -> int:
        """Supervised steps on `examples`; returns the tokens that were trained on, prompts included."""
        if not examples:
            return 0
        arguments = SFTConfig(
            per_device_train_batch_size=8,
            lr_scheduler_type="cosine",
            max_length=256,
            **common(self.setting, self.seed, steps, rate),
        )
        data = Dataset.from_list(examples)
        trainer = SFTTrainer(model=self.model, args=arguments, train_dataset=data, processing_class=self.tokenizer)
        in_float32(quiet(trainer).model)
        trainer.train()
        return int(max(entry.get("num_tokens", 0) for entry in trainer.state.log_history))

    def draw(self, records: list[dict], k: int, seed: int, temperature: float = 1.0):
        """(samples, tokens that went through the model)."""
        set_seed(seed)
        prompts = [record["prompt"] for record in records]
        rows = sampling.draw(self.model, self.tokenizer, prompts, k, self.setting.room, 256, temperature)
        read = sum(map(len, self.tokenizer(prompts)["input_ids"]))
        return rows, read + sum(sample.tokens for row in rows for sample in row)

    def greedy(self, records: list[dict]) -> list[bool]:
        return [row[0] for row in right(self.draw(records, 1, 0, temperature=0.0)[0], records)]

    def reinforce(self, records: list[dict], operations: float) -> GRPOTrainer:
        setting = self.setting
        arguments = GRPOConfig(
            num_generations=setting.generations,
            per_device_train_batch_size=setting.completions,
            max_completion_length=setting.room,
            lr_scheduler_type="constant_with_warmup",
            **common(setting, self.seed, 500, setting.rate),
        )
        rows = [{"prompt": record["prompt"], "answer": record["answer"]} for record in records]
        trainer = GRPOTrainer(
            model=self.model,
            reward_funcs=checked(correctness),
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=self.tokenizer,
            callbacks=[Budget(operations)],
        )
        in_float32(quiet(trainer).model)
        trainer.train()
        return trainer


def measure(setting: Setting, seed: int) -> dict:
    """All methods from one warm-up: who is right where, what each cost, and what STaR's rounds drew."""
    pool, heldout, examples = problems(setting, seed)
    bench, hits, cost, rounds, seconds = Bench(setting, seed), {}, {}, [], {}
    bench.tune(examples, setting.warm_steps, setting.warm_rate)
    warm = bench.state()
    hits["warm-up"] = bench.greedy(heldout)

    def tune(kept: list[dict]) -> float:
        return TRAINED * bench.tune(kept, setting.tune_steps, setting.tune_rate)

    def star(name: str, again: bool) -> None:
        bench.restart(warm)
        spent, began = 0.0, time.time()
        for number in range(1, setting.rounds + 1):
            rows, tokens = bench.draw(pool, setting.samples, seed + number)
            kept = keep(rows, pool)
            if name == "STaR":
                rounds.append(describe(rows, pool, kept))
            if again:
                bench.restart(warm)
            spent += DRAWN * tokens + tune(kept)
            if again or number == setting.rounds:
                key = f"STaR, round {number}" if again else name
                cost[key], seconds[key] = spent, round(time.time() - began, 1)
                hits[key] = bench.greedy(heldout)
            if number == 1 and again:
                first.extend(rows)

    first: list = []
    star("STaR", again=True)
    last = f"STaR, round {setting.rounds}"
    began = time.time()
    bench.restart(warm)
    trainer = bench.reinforce(pool, cost[last])
    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    cost["GRPO"], seconds["GRPO"] = (DRAWN + TRAINED) * logs[-1]["num_tokens"], round(time.time() - began, 1)
    hits["GRPO"] = bench.greedy(heldout)
    began = time.time()
    rows, tokens = bench.draw(pool, 1, 0, temperature=0.0)
    bench.restart(warm)
    cost["distilled"] = DRAWN * tokens + tune(keep(rows, pool))
    hits["distilled"], seconds["distilled"] = bench.greedy(heldout), round(time.time() - began, 1)
    bench.restart(warm)
    chosen = random.Random(seed)
    unfiltered = [
        {"prompt": r["prompt"], "completion": chosen.choice(row).text} for r, row in zip(pool, first, strict=True)
    ]
    began = time.time()
    cost["no filter"] = tune(unfiltered)
    hits["no filter"], seconds["no filter"] = bench.greedy(heldout), round(time.time() - began, 1)
    star("trained on", again=False)
    return {
        "right": hits,
        "operations": cost,
        "seconds": seconds,
        "rounds": rounds,
        "kept from the teacher": len(keep(rows, pool)),
        "reward": [round(float(entry["reward"]), 4) for entry in logs],
        "steps": len(logs),
        **receipts.parameter_counts(bench.model),
    }


def run(setting: Setting, seed: int) -> dict:
    """One seed; where it fails, that is its result."""
    began = time.time()
    try:
        found = measure(setting, seed)
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]}
    gc.collect()
    return {"seed": seed, **found, "wall_s": round(time.time() - began, 1)}


def summary(runs: Sequence[dict]) -> dict:
    """Scores and mean cost of each method over the seeds that finished, and the receipt's metrics."""
    done = [found for found in runs if not found.get("error")]
    names = list(done[0]["right"]) if done else []
    scores = {
        name: peft_training.seeds_score("right answers", [found["right"][name] for found in done]).as_dict()
        for name in names
    }
    last = [name for name in names if name.startswith("STaR")][-1:]
    enough = last and scores[last[0]]["n"] >= 100
    cost = {
        name: statistics.fmean(found["operations"][name] * found["total_parameters"] for found in done)
        for name in names
        if name != "warm-up"
    }
    return {
        "metrics": {"before": scores["warm-up"], "after": scores[last[0]]} if enough else {},
        "scores": scores,
        "operations": cost,  # multiplications and additions, of drawing and training
    }


def compact(found: dict) -> dict:
    """A run as the record holds it: shares in place of the outcome of each problem."""
    if found.get("error"):
        return found
    return found | {"right": {name: round(statistics.fmean(hits), 4) for name, hits in found["right"].items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=PROFILES["small"].model, help="a folder, or a name on the Hub")
    parser.add_argument("--name", default="smollm2", help="of the model, in the receipt's name")
    parser.add_argument("--seeds", default="1,2,3", help="whole numbers joined by commas")
    parser.add_argument("--data", choices=tuple(SETTINGS), default="comparisons")
    parser.add_argument("--problems", type=int, default=200, help="held-out problems")
    parser.add_argument("--pool", type=int, default=96, help="training problems")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--generations", type=int, help="GRPO: completions of a prompt; the default is the data's")
    parser.add_argument("--completions", type=int, help="GRPO: completions of a step; the default is the data's")
    parser.add_argument("--workers", type=int, default=max(1, min(4, (os.cpu_count() or 1) - 2)))
    parser.add_argument("--minutes", type=float, default=9.0, help="what is not done by then is left out")
    parser.add_argument("--quick", action="store_true", help="few steps and problems, one seed")
    args = parser.parse_args()
    began, seeds = time.time(), [int(seed) for seed in args.seeds.split(",")][: 1 if args.quick else None]
    revision = PROFILES["small"].revision if args.model == PROFILES["small"].model else None
    weights = find_weights(args.model, revision)
    setting = Setting(weights.path, args.data, **SETTINGS[args.data])
    setting = replace(setting, problems=args.problems, pool=args.pool, rounds=args.rounds)
    given = {name: getattr(args, name) for name in ("generations", "completions")}
    setting = replace(setting, **{name: value for name, value in given.items() if value})
    if args.quick:
        setting = replace(setting, pool=10, problems=10, tune_steps=2, completions=8)
    args.out.mkdir(parents=True, exist_ok=True)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        setting = replace(setting, folder=folder)
        pool = ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn"), start)
        waiting = [pool.submit(run, setting, seed) for seed in seeds]

        def report(found: dict) -> None:
            runs.append(found)
            said = found.get("error") or compact(found)["right"]
            print(f"[{time.time() - began:4.0f} s] seed {found['seed']}: {said}", flush=True)

        collect(pool, waiting, 60 * args.minutes, report)
    runs.sort(key=lambda found: found["seed"])
    receipt = record(args, setting, weights, runs) | {"wall_s": round(time.time() - began, 1)}
    text = json.dumps(dict.fromkeys(receipts.KEYS) | receipt, indent=1, default=str)
    receipts.write_text(args.out / f"{receipt['name']}.json", text + "\n")
    for name, found in receipt["scores"].items():
        print(f"{name:16} {evaluation.Score(**found)}")
    sys.exit(any(found.get("error") for found in runs) or not runs)


def record(args: argparse.Namespace, setting: Setting, weights, runs: list[dict]) -> dict:
    """The receipt of all seeds."""
    done = [found for found in runs if not found.get("error")]
    counts, file = (done or [{}])[0], "additions-train.jsonl"
    made, files = setting.data == "comparisons", json.loads((DATA_DIR / "MANIFEST.json").read_text())["files"]
    return {
        "name": f"self-improvement-{args.name}",
        "notebook": "04-Reasoning-Tuning/Self-Improvement.ipynb",
        "profile": "tiny" if args.name == "tiny" else "full" if GPU else "small",
        "method": "STaR, GRPO and distillation after a supervised warm-up, LoRA r=16",
        "model": args.model if weights.source != "folder" else Path(weights.path).name,
        "revision": PROFILES["small"].revision if args.model == PROFILES["small"].model else None,
        "weights_source": weights.source,
        "random_weights": False,
        "dataset": "comparisons, made for each seed" if made else file,
        "dataset_sha256": None if made else files[file]["sha256"],
        **receipts.environment(),
        "seed": [found["seed"] for found in runs],
        "batch_size": setting.completions,
        "sequence_length": setting.room,
        "accumulation": 1,
        **{key: counts.get(key) for key in ("trainable_parameters", "total_parameters", "weights_gib")},
        "steps": max((found["steps"] for found in done), default=0),  # of GRPO
        "workers": args.workers,  # processes that shared the device: all seconds are under their load
        "quick": args.quick,
        "setting": {key: value for key, value in asdict(setting).items() if key not in ("weights", "folder")},
        **summary(runs),
        "runs": [compact(found) for found in runs],
        **({} if done else {"error": runs[0]["error"] if runs else "nothing was done in time"}),
    }


if __name__ == "__main__":
    main()
