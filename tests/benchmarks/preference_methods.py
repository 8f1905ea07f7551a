"""Ways of preference tuning on one task, three seeds each: the record behind 03-Instruction-Tuning/Preference-Tuning.

    python -m tests.benchmarks.preference_methods --out FOLDER [--model PATH] [--name NAME] [--steps N] [--prompts N]
        [--workers K] [--minutes M] [--quick]

For each seed a model is tuned on the shop's old logs; every method starts from that adapter, on the same pairs. Scored are
drawn answers to held-out chats, by the rules of shared/judging.py, and held-out pairs. Worker processes share the device.
Writes preference-methods-NAME.json and prints a table. --quick: few steps and prompts, one seed, to see that it runs.
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
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # many processes share one memory
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # a notice at each import

import shared  # noqa: F401  # isort: skip  (before the libraries: telemetry off)
import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import set_seed
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from shared import evaluation, judging, peft_training, receipts
from shared.data import DATA_DIR, preferences, read_jsonl
from shared.models import load_model, load_tokenizer
from shared.models.weights import find_weights
from shared.profile import PROFILES
from shared.training import Stopwatch, quiet
from tests.benchmarks.paired import differences

TRAIN, HELDOUT = DATA_DIR / "preferences-train.jsonl", DATA_DIR / "preferences-heldout.jsonl"
SEEDS, LENGTH, ROOM, TEMPERATURE = (1, 2, 3), 256, 70, 0.5
METHODS = {  # name: what the trainer gets besides the common settings
    "DPO": {"beta": 0.1},
    "DPO, wrong reference": {"beta": 0.1},
    "DPO + SFT": {"beta": 0.1, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]},
    "SFT on chosen": {},  # the control: no rejected answer is seen
    "IPO": {"beta": 0.1, "loss_type": "ipo"},
    "DPO per token": {"beta": 3.0, "loss_type": "sigmoid_norm"},
    "SimPO": {"beta": 2.0, "loss_type": "simpo", "simpo_gamma": 1.0, "cpo_alpha": 0.0, "remove_unused_columns": False},
    "ORPO": {"beta": 0.5, "remove_unused_columns": False},
    "KTO": {"beta": 0.1},
    "DPO, longer preferred": {"beta": 0.1},
    "DPO per token, longer preferred": {"beta": 3.0, "loss_type": "sigmoid_norm"},
}
CONTROL = "SFT on chosen"  # imitation of the good answers, without a preference
GPU = torch.cuda.is_available()


@dataclass(frozen=True)
class Setting:
    """What is the same for all methods."""

    weights: str
    steps: int = 60
    sft_steps: int = 120
    batch: int = 8
    prompts: int = 200
    rate: float = 2e-4
    sft_rate: float = 1e-3
    folder: str = ""


def start() -> None:
    """A worker: one thread, and no warnings that each run would repeat."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    transformers.logging.set_verbosity_error()


def common(setting: Setting, seed: int, steps: int, rate: float) -> dict:
    """The arguments that every trainer gets."""
    return {
        "output_dir": f"{setting.folder}/trainer-{os.getpid()}",
        "max_steps": steps,
        "per_device_train_batch_size": setting.batch,
        "learning_rate": rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, steps // 10),
        "max_length": LENGTH,
        "gradient_checkpointing": False,
        "bf16": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "logging_steps": 1,
        "seed": seed,
        "dataloader_pin_memory": False,
    }


def sft(setting: Setting, seed: int) -> dict:
    """Tune on the old logs, save the adapter, and score it."""
    set_seed(seed)
    tokenizer, model = load_tokenizer(setting.weights), load_model(setting.weights, dtype=torch.float32)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**common(setting, seed, setting.sft_steps, setting.sft_rate)),
        train_dataset=Dataset.from_list(preferences.shop_logs(read_jsonl(TRAIN), seed)),
        processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
    )
    quiet(trainer).train()
    trainer.model.save_pretrained(f"{setting.folder}/sft-{seed}")
    found = score(trainer.model, tokenizer, setting, seed)
    return found | receipts.parameter_counts(trainer.model)


def score(model: torch.nn.Module, tokenizer, setting: Setting, seed: int) -> dict:
    """Drawn answers by the judge's rules, and the log-probabilities of held-out pairs."""
    heldout = read_jsonl(HELDOUT)[: setting.prompts]
    set_seed(seed)
    prompts = [record["prompt"] for record in heldout]
    answers = evaluation.generate(model, tokenizer, prompts, ROOM, 100, first_line_only=True, temperature=TEMPERATURE)
    kept = [judging.kept_rules(answer, record) for answer, record in zip(answers, heldout, strict=True)]
    pairs = judging.pair_log_probs(model, tokenizer, heldout)
    return {
        "good": [all(rules.values()) for rules in kept],
        "rules": {rule: statistics.fmean(rules[rule] for rules in kept) for rule in judging.RULES},
        "words": judging.mean_words(answers),
        "answers": answers,
        "accuracy": judging.preference_accuracy(pairs).value,
        "pairs": {side: pairs[side].tolist() for side in ("chosen", "rejected")},
    }


def single_answers(pairs: list[dict], seed: int) -> list[dict]:
    """Each side of the pairs as a record of its own, with its label, in random order."""
    rows = [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in pairs
        for side in ("chosen", "rejected")
    ]
    random.Random(seed).shuffle(rows)
    return rows


def build(setting: Setting, method: str, seed: int):
    """The trainer of `method`, starting from the adapter of that seed."""
    set_seed(seed)
    tokenizer, base = load_tokenizer(setting.weights), load_model(setting.weights, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, f"{setting.folder}/sft-{seed}", is_trainable=True)
    records = random.Random(seed).sample(read_jsonl(TRAIN), min(1200, setting.steps * setting.batch))
    if method.endswith("longer preferred"):
        records = [preferences.longer_preferred(record) for record in records]
    rows = [{field: record[field] for field in ("prompt", "chosen", "rejected")} for record in records]
    kinds = {
        "SimPO": (CPOTrainer, CPOConfig),
        "ORPO": (ORPOTrainer, ORPOConfig),
        "KTO": (KTOTrainer, KTOConfig),
        "SFT on chosen": (SFTTrainer, SFTConfig),
    }
    kind, config = kinds.get(method, (DPOTrainer, DPOConfig))
    options = {}
    if method == "DPO, wrong reference":
        options["ref_model"] = load_model(setting.weights, dtype=torch.float32)  # the base, not the tuned model
    arguments = config(**common(setting, seed, setting.steps, setting.rate), **METHODS[method])
    if method == "KTO":  # it would unpair them itself, the chosen ones first, and take them in that order
        rows = single_answers(rows, seed)
        arguments.per_device_train_batch_size *= 2  # as many answers a step as the others
    if kind is SFTTrainer:
        rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    data, stopwatch = Dataset.from_list(rows), Stopwatch()
    trainer = kind(
        model=model, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=[stopwatch], **options
    )
    return quiet(trainer), stopwatch, tokenizer


def run(setting: Setting, method: str, seed: int) -> dict:
    """One training and its scores; a training that fails is a result, too."""
    began = time.time()
    try:
        trainer, stopwatch, tokenizer = build(setting, method, seed)
        trainer.train()
        seconds = stopwatch.step_seconds
        history = [entry["rewards/margins"] for entry in trainer.state.log_history if "rewards/margins" in entry]
        found = score(trainer.model, tokenizer, setting, seed)
        found |= {"step_s": round(statistics.median(seconds[1:] or seconds), 4), "margins": history[-5:]}
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]}
    trainer = None
    gc.collect()
    if GPU:
        torch.cuda.empty_cache()
    return found | {"method": method, "seed": seed, "wall_s": round(time.time() - began, 1)}


def compared(found: dict, before: dict, heldout: list[dict]) -> dict:
    """A run as the receipt holds it: the scores, and what changed from the adapter that it started from."""
    if found.get("error"):
        return found
    changes = {
        side: statistics.fmean(a - b for a, b in zip(found["pairs"][side], before["pairs"][side], strict=True))
        for side in ("chosen", "rejected")
    }
    kept = {name: value for name, value in found.items() if name not in ("answers", "pairs", "good")}
    wins = judging.outcomes(found["answers"], before["answers"], heldout)
    return kept | {
        "good": round(statistics.fmean(found["good"]), 4),
        "win_rate": round(statistics.fmean(wins), 4),
        "chosen_change": round(changes["chosen"], 3),
        "rejected_change": round(changes["rejected"], 3),
    }


def table(runs: list[dict]) -> str:
    """One line a method: means over its seeds."""
    lines = [f"{'method':32} good   win    words  accuracy  chosen    rejected  s/step"]
    for method in dict.fromkeys(run["method"] for run in runs):
        mine = [run for run in runs if run["method"] == method and not run.get("error")]
        if not mine:
            lines.append(f"{method:32} failed")
            continue
        keys = ("good", "win_rate", "words", "accuracy", "chosen_change", "rejected_change", "step_s")
        means = [statistics.fmean(run.get(key, 0.0) for run in mine) for key in keys]
        lines.append(
            f"{method:32} {means[0]:5.1%}  {means[1]:5.1%}  {means[2]:5.1f}  {means[3]:5.1%}  {means[4]:+8.1f}  "
            f"{means[5]:+8.1f}  {means[6]:.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=PROFILES["small"].model, help="a folder, or a name on the Hub")
    parser.add_argument("--name", default="smollm2", help="of the model, in the receipt's name")
    parser.add_argument("--methods", default=";".join(METHODS), help="names joined by semicolons")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--sft-steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate of the preference methods")
    parser.add_argument("--sft-rate", type=float, default=1e-3)
    parser.add_argument("--prompts", type=int, default=200, help="held-out chats that are answered and scored")
    parser.add_argument("--workers", type=int, default=max(1, min(8, (os.cpu_count() or 1) - 2)))
    parser.add_argument("--minutes", type=float, default=9.0, help="what is not done by then is left out")
    parser.add_argument("--quick", action="store_true", help="few steps and prompts, one seed")
    args = parser.parse_args()
    methods = args.methods.split(";")
    if unknown := set(methods) - set(METHODS):
        parser.error(f"no method is called {', '.join(sorted(unknown))}: they are {'; '.join(METHODS)}")
    began, seeds = time.time(), SEEDS[:1] if args.quick else SEEDS
    revision = PROFILES["small"].revision if args.model == PROFILES["small"].model else None
    found = find_weights(args.model, revision)
    setting = Setting(found.path, args.steps, args.sft_steps, args.batch, args.prompts, args.rate, args.sft_rate)
    if args.quick:
        setting = replace(setting, steps=min(8, args.steps), sft_steps=min(40, args.sft_steps), batch=4, prompts=100)
    args.out.mkdir(parents=True, exist_ok=True)
    heldout = read_jsonl(HELDOUT)[: setting.prompts]
    runs, before = [], {}
    with tempfile.TemporaryDirectory() as folder:
        setting = replace(setting, folder=folder)
        pool = ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn"), start)
        for seed, result in zip(seeds, pool.map(sft, [setting] * len(seeds), seeds), strict=True):
            before[seed] = result
            share = statistics.fmean(result["good"])
            print(f"[{time.time() - began:4.0f} s] tuned on the logs, seed {seed}: {share:.1%}", flush=True)
        waiting = [pool.submit(run, setting, method, seed) for seed in seeds for method in methods]
        good: dict[str, dict] = {}
        try:
            for future in as_completed(waiting, timeout=max(1.0, began + 60 * args.minutes - time.time())):
                result = future.result()
                if not result.get("error"):
                    good.setdefault(result["method"], {})[result["seed"]] = result["good"]
                runs.append(compared(result, before[result["seed"]], heldout))
                said = runs[-1].get("error") or f"{runs[-1]['good']:.1%} good"
                print(f"[{time.time() - began:4.0f} s] {result['method']}, seed {result['seed']}: {said}", flush=True)
        except TimeoutError:
            print("the time is up: the others are left out", flush=True)
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
    runs.sort(key=lambda run: (methods.index(run["method"]), run["seed"]))
    tuned = [compared(result, result, heldout) | {"method": "SFT", "seed": seed} for seed, result in before.items()]
    metrics = {}
    if good.get("DPO") and setting.prompts >= 100:
        metrics = {
            "before": peft_training.seeds_score("good answers", [r["good"] for r in before.values()]).as_dict(),
            "after": peft_training.seeds_score("good answers", list(good["DPO"].values())).as_dict(),
        }
        metrics |= {n: peft_training.seeds_score("good answers", list(g.values())).as_dict() for n, g in good.items()}
    steps_s = [r["step_s"] for r in runs if r["method"] == "DPO" and not r.get("error")]
    receipt = {
        "name": f"preference-methods-{args.name}",
        "notebook": "03-Instruction-Tuning/Preference-Tuning.ipynb",
        "profile": "tiny" if args.name == "tiny" else "full" if GPU else "small",
        "method": "preference tuning, several losses",
        "model": args.model if found.source != "folder" else Path(found.path).name,
        "revision": revision,
        "weights_source": found.source,
        "random_weights": False,
        "dataset": f"{TRAIN.name} and {HELDOUT.name}",
        "dataset_sha256": json.loads((DATA_DIR / "MANIFEST.json").read_text())["files"][TRAIN.name]["sha256"],
        **receipts.environment(),
        "seed": list(seeds),
        "batch_size": setting.batch,
        "sequence_length": LENGTH,
        "accumulation": 1,
        **{name: before[seeds[0]][name] for name in ("trainable_parameters", "total_parameters", "weights_gib")},
        "step_s": statistics.median(steps_s) if steps_s else None,
        "steps": setting.steps,
        "wall_s": round(time.time() - began, 1),
        "workers": args.workers,  # processes that shared the device: step_s is under their load
        "quick": args.quick,
        "setting": {name: value for name, value in asdict(setting).items() if name not in ("weights", "folder")},
        "options": {name: METHODS[name] for name in methods},
        "metrics": metrics,
        "against control": differences(
            good | {"SFT": {s: tuned_on_logs["good"] for s, tuned_on_logs in before.items()}}, CONTROL
        ),
        "runs": tuned + runs,
    }
    text = json.dumps(dict.fromkeys(receipts.KEYS) | receipt, indent=2, default=str)
    receipts.write_text(args.out / f"{receipt['name']}.json", text.replace("NaN", "null") + "\n")
    print(f"\n{table(tuned + runs)}\n{len(runs)} of {len(seeds) * len(methods)} runs in {time.time() - began:.0f} s")
    sys.exit(any(run.get("error") for run in runs))


if __name__ == "__main__":
    main()
