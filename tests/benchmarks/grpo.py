"""GRPO with verifiable rewards, several seeds: the records behind 04-Reasoning-Tuning/GRPO-with-Verifiable-Rewards.

    python -m tests.benchmarks.grpo --part main|ablations|new-skill --out FOLDER [--model PATH] [--name NAME] [--seeds 1,2,3]
        [--data stories|chains|additions] [--warm-steps N] [--steps N] [--problems N] [--samples K] [--workers W]
        [--minutes M] [--quick]

main: a short supervised warm-up, then GRPO, greedy accuracy on held-out problems before and after, and what the trainer
logged at every step. ablations: the same start, one option changed at a time. new-skill (falcon-tiny on additions): k samples
of each problem before, GRPO on longer and longer additions, greedy answers after, on the problems that no sample solved.
Seeds and options are processes side by side, and share the device. A training that the time cuts short is scored as it is;
among ablations it counts as failed. Writes grpo-PART-NAME.json and prints a table; what fails stays in the record. --quick:
few steps and problems, one seed.
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
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # many processes share one memory
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import shared  # noqa: F401  # isort: skip  (before the libraries: telemetry off)
import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import TrainerCallback, set_seed
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from shared import evaluation, peft_training, receipts, sampling
from shared.data import DATA_DIR
from shared.data.problem_records import read_problems
from shared.data.problems import Sums, direct, make_addition, parse_answer_number, worked
from shared.models import load_model, load_tokenizer
from shared.models.weights import find_weights
from shared.profile import PROFILES
from shared.rewards import checked, correctness
from shared.training import Stopwatch, quiet
from tests.benchmarks.paired import differences
from tests.benchmarks.pool import collect

GPU, WORKED_SHARE = torch.cuda.is_available(), 0.3
KEPT = {  # what is kept of each log of the trainer: its key there -> its name in the record
    "reward": "reward",
    "frac_reward_zero_std": "equal groups",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "cut",
    "entropy": "entropy",
    "kl": "KL",
    "clip_ratio/region_mean": "clipped",
    "loss": "loss",
    "grad_norm": "gradient",
}
ABLATIONS = {  # name: what GRPOConfig gets besides the common settings
    "base": {},
    "loss grpo": {"loss_type": "grpo"},
    "loss bnpo": {"loss_type": "bnpo"},
    "loss dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "4 generations": {"num_generations": 4},
    "16 generations": {"num_generations": 16},
    "temperature 0.7": {"temperature": 0.7},
    "temperature 1.3": {"temperature": 1.3},
    "beta 0.04": {"beta": 0.04},
    "rate 1e-6": {"learning_rate": 1e-6},
}
WARM_SIZES = {2: 0.8, 3: 0.2}  # digits of the additions of the new skill's warm-up: their shares


@dataclass(frozen=True)
class Setting:
    """What is the same for all runs."""

    weights: str
    data: str = "stories"
    warm_steps: int = 60
    warm_rate: float = 1e-3
    steps: int = 300
    completions: int = 64  # a step
    generations: int = 8  # of each prompt
    per_generation: int = 4  # steps that share the completions of one round of generation
    rate: float = 1e-4
    problems: int = 300
    samples: int = 64
    replay: float = 0.3  # share of what the warm-up taught among the new skill's training problems
    until: float = 0.0  # the time at which a training stops
    whole: bool = False  # a training that was stopped so does not count: it is compared with others
    folder: str = ""


def start() -> None:
    """A worker: one thread, and no warnings that each run would repeat."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    transformers.logging.set_verbosity_error()


class Deadline(TrainerCallback):
    """Stops a training when its time is over."""

    def __init__(self, until: float):
        self.until = until

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop |= time.time() > self.until


def problems(setting: Setting, seed: int) -> tuple[list[dict], list[dict], list[dict]]:
    """Training problems, held-out problems, and the examples of the warm-up: most of an addition's are answered at once."""
    rng = random.Random(seed)
    if setting.data != "additions":
        train, heldout = (read_problems(DATA_DIR / f"{setting.data}-{part}.jsonl") for part in ("train", "heldout"))
        examples = [worked(record) for record in train]
    else:
        train = [record for record in read_problems(DATA_DIR / "additions-train.jsonl") if record["size"] == 2]
        heldout = read_problems(DATA_DIR / "additions-practised.jsonl")
        examples = [worked(record) if rng.random() < WORKED_SHARE else direct(record) for record in train]
    return train, heldout[: setting.problems], examples


def common(setting: Setting, seed: int, steps: int, rate: float) -> dict:
    """The arguments that every trainer gets."""
    return {
        "output_dir": f"{setting.folder}/trainer-{os.getpid()}",
        "max_steps": steps,
        "learning_rate": rate,
        "warmup_steps": 2,
        "weight_decay": 0.0,
        "gradient_checkpointing": False,
        "bf16": False,  # no autocast: the weights' own type decides, and adapters have 32 bit
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "logging_steps": 1,
        "seed": seed,
        "dataloader_pin_memory": False,
    }


def room_for(tokenizer, records: list[dict]) -> int:
    """Tokens that the longest worked answer takes, and a few more."""
    return max(len(tokenizer(worked(record)["completion"])["input_ids"]) for record in records) + 4


def in_float32(model: torch.nn.Module) -> None:
    """The trained parameters in 32 bit, in place."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def tuned(setting: Setting, seed: int, examples: list[dict]) -> tuple[PeftModel, object]:
    """A model after the warm-up, and its tokenizer."""
    set_seed(seed)
    tokenizer, model = load_tokenizer(setting.weights), load_model(setting.weights)
    arguments = SFTConfig(
        per_device_train_batch_size=8,
        lr_scheduler_type="cosine",
        max_length=256,
        **common(setting, seed, setting.warm_steps, setting.warm_rate),
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
    )
    in_float32(quiet(trainer).model)
    trainer.train()
    return trainer.model, tokenizer


def greedy(model, tokenizer, records: list[dict], room: int) -> list[bool]:
    """Which problems the likeliest answer solves."""
    texts = evaluation.generate(model, tokenizer, [record["prompt"] for record in records], room, 150)
    return [parse_answer_number(text) == record["answer"] for text, record in zip(texts, records, strict=True)]


def warm(setting: Setting, seed: int) -> dict:
    """Warm a model up, save its adapter, and score it."""
    _, heldout, examples = problems(setting, seed)
    model, tokenizer = tuned(setting, seed, examples)
    model.save_pretrained(f"{setting.folder}/warm-{seed}")
    return {"right": greedy(model, tokenizer, heldout, room_for(tokenizer, heldout))} | receipts.parameter_counts(model)


def reinforce(setting: Setting, seed: int, model, tokenizer, records: list[dict], steps: int, room: int, **options):
    """GRPO on `records` from `model`: the trainer and its stopwatch."""
    options = {"num_generations": setting.generations, "steps_per_generation": setting.per_generation} | options
    arguments = GRPOConfig(
        per_device_train_batch_size=setting.completions,
        max_completion_length=room,
        lr_scheduler_type="constant_with_warmup",
        **(common(setting, seed, steps, setting.rate) | options),
    )
    stopwatch = Stopwatch()
    rows = [{"prompt": record["prompt"], "answer": record["answer"]} for record in records]
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=checked(correctness),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[stopwatch, Deadline(setting.until)],
    )
    in_float32(quiet(trainer).model)
    trainer.train()
    return trainer, stopwatch


def curves(history: list[dict]) -> dict[str, list[float]]:
    """What the trainer logged, by name: a value for each step; names that it did not log are left out."""
    logs = [entry for entry in history if "reward" in entry]
    found = {name: [round(float(entry.get(key) or 0), 5) for entry in logs] for key, name in KEPT.items()}
    return {name: found[name] for key, name in KEPT.items() if any(key in entry for entry in logs)}


def train(setting: Setting, seed: int, name: str) -> dict:
    """One GRPO training from the warmed-up model, with the options `name`, and its score."""
    records, heldout, _ = problems(setting, seed)
    set_seed(seed)
    tokenizer, base = load_tokenizer(setting.weights), load_model(setting.weights)
    model = PeftModel.from_pretrained(base, f"{setting.folder}/warm-{seed}", is_trainable=True)
    room = room_for(tokenizer, heldout)
    options = dict(ABLATIONS[name])
    trainer, stopwatch = reinforce(setting, seed, model, tokenizer, records, setting.steps, room, **options)
    return {
        "right": greedy(trainer.model, tokenizer, heldout, room),
        "curves": curves(trainer.state.log_history),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 3) if GPU else None,
        **{key: round(value, 4) for key, value in stopwatch.speed(trainer).items()},
    }


def stages(replay: float) -> tuple[tuple[dict[int, float], float], ...]:
    """The curriculum of the new skill: shares of the additions' digits, and each stage's part of the steps."""
    rest = 1 - replay
    return ({2: replay, 3: rest}, 0.75), ({2: replay, 3: rest / 2, 4: rest / 2}, 0.25)


def new_skill(setting: Setting, seed: int, name: str) -> dict:
    """What k samples solved before GRPO with a curriculum, and what one greedy answer solves after each of its stages."""
    rng = random.Random(seed)
    sets = {
        "2 digits": read_problems(DATA_DIR / "additions-practised.jsonl"),
        "3 digits": read_problems(DATA_DIR / "additions-heldout.jsonl"),
        "4 digits": [record for record in read_problems(DATA_DIR / "additions-long.jsonl") if record["size"] == 4],
    }
    few = max(1, setting.problems // 2)  # of the control, and of what is further away
    sets = {title: records[: setting.problems if title == "3 digits" else few] for title, records in sets.items()}

    def additions(count: int, shares: dict[int, float]) -> list[dict]:
        sizes = rng.choices(list(shares), list(shares.values()), k=count)
        return [make_addition(Sums((size,), heldout=False), rng) for size in sizes]

    model, tokenizer = tuned(setting, seed, [worked(record) for record in additions(800, WARM_SIZES)])
    size_of = receipts.parameter_counts(model)
    rooms = {title: room_for(tokenizer, records) for title, records in sets.items()}
    found = {title: {"greedy before": greedy(model, tokenizer, sets[title], rooms[title])} for title in sets}
    for title, records in sets.items():
        set_seed(seed)
        prompts = [record["prompt"] for record in records]
        rows = sampling.draw(model, tokenizer, prompts, setting.samples, rooms[title], 2048 if GPU else 512)
        found[title]["solved of k"] = [
            sum(parse_answer_number(sample.text) == record["answer"] for sample in row)
            for row, record in zip(rows, records, strict=True)
        ]
    print(f"seed {seed}, before:", compact({"sets": found})["sets"], flush=True)
    logs, speed, steps, planned = {}, {}, [], []
    for stage, (shares, part) in enumerate(stages(setting.replay)):
        room = rooms[f"{max(shares)} digits"]
        wanted = max(1, round(part * setting.steps))
        trainer, stopwatch = reinforce(setting, seed, model, tokenizer, additions(2000, shares), wanted, room)
        model = trainer.model
        planned.append(wanted)
        steps.append(trainer.state.global_step)
        for key, values in curves(trainer.state.log_history).items():
            logs.setdefault(key, []).extend(values)
        speed = speed or stopwatch.speed(trainer)
        for title, records in sets.items():
            found[title][f"greedy after stage {stage + 1}"] = greedy(model, tokenizer, records, rooms[title])
    spent = {k: round(v, 4) for k, v in speed.items()} | {"steps": sum(steps), "stage_steps": [steps, planned]}
    return {"sets": found, "curves": logs, **size_of, **spent}


def run(setting: Setting, seed: int, name: str) -> dict:
    """One training and its scores; a training that fails is a result, too."""
    began = time.time()
    try:
        found = (new_skill if name == "new skill" else train)(setting, seed, name)
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]}
    if setting.whole and found.get("steps", setting.steps) < setting.steps:
        found = {"error": f"the time was up after {found['steps']} of {setting.steps} steps"}
    gc.collect()
    if GPU:
        torch.cuda.empty_cache()
    return {"run": name, "seed": seed, **found, "wall_s": round(time.time() - began, 1)}


def score(runs: list[dict]) -> dict | None:
    """Right answers over the seeds of `runs` that finished."""
    done = [found["right"] for found in runs if not found.get("error")]
    return peft_training.seeds_score("right answers", done).as_dict() if done else None


def skills(runs: list[dict]) -> dict[str, dict]:
    """For each kind of addition: problems solved by a sample, greedy before and after, and after of those never solved."""
    found = {}
    for title in runs[0]["sets"] if runs else ():
        mine = [run["sets"][title] for run in runs]
        last = list(mine[0])[-1]
        solved = [[count > 0 for count in one["solved of k"]] for one in mine]
        new = []  # of each seed: after, of what neither a sample nor the greedy answer solved before; the others None
        for one, some in zip(mine, solved, strict=True):
            outcomes = zip(one[last], some, one["greedy before"], strict=True)
            new.append([None if sampled or likeliest else hit for hit, sampled, likeliest in outcomes])
        counted = sum(hit is not None for hits in new for hit in hits)
        found[title] = {
            "pass": peft_training.seeds_score("solved by a sample", solved).as_dict(),
            "before": peft_training.seeds_score("greedy before", [one["greedy before"] for one in mine]).as_dict(),
            "after": peft_training.seeds_score("greedy after", [one[last] for one in mine]).as_dict(),
            "new": peft_training.seeds_score("greedy after, never solved before", new).as_dict() if counted else None,
            "never solved": round(counted / sum(map(len, new)), 4),
        }
    return found


def compact(found: dict) -> dict:
    """A run as the record holds it: shares in place of the outcome of each problem."""
    kept = {key: value for key, value in found.items() if key not in ("right", "sets")}
    if "right" in found:
        kept["right"] = round(statistics.fmean(found["right"]), 4)
    for title, outcomes in found.get("sets", {}).items():
        shares = {key: statistics.fmean(map(bool, values)) for key, values in outcomes.items()}
        kept.setdefault("sets", {})[title] = {key: round(value, 4) for key, value in shares.items()}
    return kept


def settings(args: argparse.Namespace, weights: str) -> Setting:
    """What the arguments ask for; what they leave out is the part's and the data's own."""
    additions = args.data == "additions"
    setting = Setting(
        weights,
        args.data,
        problems=args.problems,
        samples=args.samples,
        per_generation=args.per_generation,
        replay=args.replay,
    )
    setting = replace(setting, warm_rate=4e-3 if additions else 1e-3, rate=5e-4 if additions else 1e-4)
    setting = replace(setting, warm_steps=20 if additions else 60, steps=40 if additions else 300)
    if args.part == "ablations":
        setting = replace(setting, steps=12 if additions else 60, whole=True)
    if args.part == "new-skill":  # a short warm-up: most additions of three digits are to be out of reach
        setting = replace(setting, warm_steps=50, steps=300, rate=2e-4)
    if args.rate:
        setting = replace(setting, rate=args.rate)
    if args.steps:
        setting = replace(setting, steps=args.steps)
    if args.warm_steps:
        setting = replace(setting, warm_steps=args.warm_steps)
    if args.quick:
        setting = replace(
            setting, steps=min(4, setting.steps), completions=16, problems=20, samples=4, per_generation=1
        )
    return setting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("main", "ablations", "new-skill"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=PROFILES["small"].model, help="a folder, or a name on the Hub")
    parser.add_argument("--name", default="smollm2", help="of the model, in the receipt's name")
    parser.add_argument("--seeds", default="1,2,3", help="whole numbers joined by commas")
    parser.add_argument("--data", choices=("stories", "chains", "additions"), default="stories")
    parser.add_argument("--options", default=";".join(ABLATIONS), help="of the ablations, joined by semicolons")
    parser.add_argument("--warm-steps", type=int, help="of the supervised warm-up")
    parser.add_argument("--steps", type=int, help="of GRPO, in all its stages")
    parser.add_argument("--rate", type=float, help="learning rate of GRPO")
    parser.add_argument("--per-generation", type=int, default=4, help="steps that share one round of generation")
    parser.add_argument("--problems", type=int, default=300, help="held-out problems of a kind")
    parser.add_argument("--samples", type=int, default=64, help="of each problem, for the new skill")
    parser.add_argument(
        "--replay", type=float, default=0.3, help="additions of two digits among the new skill's problems"
    )
    parser.add_argument("--workers", type=int, default=max(1, min(8, (os.cpu_count() or 1) - 2)))
    parser.add_argument("--minutes", type=float, default=8.0, help="trainings stop at 85 % of that, to be scored")
    parser.add_argument("--quick", action="store_true", help="few steps and problems, one seed")
    args = parser.parse_args()
    if unknown := set(args.options.split(";")) - set(ABLATIONS):
        parser.error(f"no option is called {', '.join(sorted(unknown))}: they are {'; '.join(ABLATIONS)}")
    began, seeds = time.time(), [int(seed) for seed in args.seeds.split(",")][: 1 if args.quick else None]
    revision = PROFILES["small"].revision if args.model == PROFILES["small"].model else None
    weights = find_weights(args.model, revision)
    setting = replace(settings(args, weights.path), until=began + 60 * 0.85 * args.minutes)
    names = {"main": ["base"], "ablations": args.options.split(";"), "new-skill": ["new skill"]}[args.part]
    args.out.mkdir(parents=True, exist_ok=True)
    runs, before = [], []
    with tempfile.TemporaryDirectory() as folder:
        setting = replace(setting, folder=folder)
        pool = ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn"), start)
        if args.part != "new-skill":
            for seed, found in zip(seeds, pool.map(warm, [setting] * len(seeds), seeds), strict=True):
                before.append({"run": "warm-up", "seed": seed, **found})
                said = f"{statistics.fmean(found['right']):.1%}"
                print(f"[{time.time() - began:4.0f} s] warmed up, seed {seed}: {said}", flush=True)
        waiting = [pool.submit(run, setting, seed, name) for seed in seeds for name in names]

        def report(found: dict) -> None:
            runs.append(found)
            said = found.get("error") or {key: compact(found)[key] for key in ("right", "sets") if key in found}
            print(f"[{time.time() - began:4.0f} s] {found['run']}, seed {found['seed']}: {said}", flush=True)

        collect(pool, waiting, max(1.0, began + 60 * args.minutes - time.time()), report)
    runs.sort(key=lambda found: (names.index(found["run"]), found["seed"]))
    receipt = record(args, setting, weights, runs, before) | {"wall_s": round(time.time() - began, 1)}
    text = json.dumps(dict.fromkeys(receipts.KEYS) | receipt, indent=1, default=str)
    receipts.write_text(args.out / f"{receipt['name']}.json", text + "\n")
    print(table(receipt))
    sys.exit(any(found.get("error") for found in runs) or not runs)


def record(args: argparse.Namespace, setting: Setting, weights, runs: list[dict], before: list[dict]) -> dict:
    """The receipt of all runs."""
    done = [found for found in runs if not found.get("error")]
    first, sets = (done or [{}])[0], skills(done) if args.part == "new-skill" else {}
    names = dict.fromkeys(found["run"] for found in done if "right" in found)
    scores = {name: score([found for found in runs if found["run"] == name]) for name in names}
    right = {name: {found["seed"]: found["right"] for found in done if found["run"] == name} for name in names}
    metrics = {}
    if sets and setting.problems >= 100:
        metrics = {"before": sets["3 digits"]["before"], "after": sets["3 digits"]["after"]}
    elif before and done and setting.problems >= 100:
        metrics = {"before": score(before), "after": scores.get("base") or next(iter(scores.values()))}
    files = [f"{setting.data}-train.jsonl"]
    counts = before[0] if before else first
    return {
        "name": f"grpo-{args.part}-{args.name}",
        "notebook": "04-Reasoning-Tuning/GRPO-with-Verifiable-Rewards.ipynb",
        "profile": "tiny" if args.name == "tiny" else "full" if GPU else "small",
        "method": "GRPO by correctness after a supervised warm-up, LoRA r=16",
        "model": args.model if weights.source != "folder" else Path(weights.path).name,
        "revision": PROFILES["small"].revision if args.model == PROFILES["small"].model else None,
        "weights_source": weights.source,
        "random_weights": False,
        "dataset": "additions, made for each seed" if sets else files[0],
        "dataset_sha256": json.loads((DATA_DIR / "MANIFEST.json").read_text())["files"][files[0]]["sha256"],
        **receipts.environment(),
        "seed": sorted({found["seed"] for found in runs}),
        "batch_size": setting.completions,
        "sequence_length": 256,
        "accumulation": 1,
        **{key: counts.get(key) for key in ("trainable_parameters", "total_parameters", "weights_gib")},
        "step_s": statistics.median(found["step_s"] for found in done) if done else None,
        "tokens_per_s": first.get("tokens_per_s"),
        "peak_gib_allocated": max((found.get("peak_gib") or 0 for found in done), default=0) or None,
        "steps": min((found["steps"] for found in done), default=0),
        "workers": args.workers,  # processes that shared the device: step_s is under their load
        "quick": args.quick,
        "setting": {key: value for key, value in asdict(setting).items() if key not in ("weights", "folder", "until")},
        "metrics": metrics,
        **({"sets": sets, "stages": stages(setting.replay), "warm_sizes": WARM_SIZES} if sets else {"scores": scores}),
        **({"against base": differences(right, "base")} if args.part == "ablations" else {}),
        "runs": [compact(found) for found in before + runs],
        **({} if done else {"error": runs[0]["error"] if runs else "nothing was done in time"}),
    }


def table(receipt: dict) -> str:
    """One line for each kind of run, or of addition."""
    lines = []
    for name, found in receipt.get("scores", {}).items():
        lines.append(f"{name:20} {evaluation.Score(**found)}")
    for title, found in receipt.get("sets", {}).items():
        scores = {key: value for key, value in found.items() if isinstance(value, dict)}
        lines += [f"{title:10} {key:7} {evaluation.Score(**value)}" for key, value in scores.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
