"""What packing, loss mask, noise and padding do to instruction tuning: the receipt behind Supervised-Instruction-Tuning.

    python -m tests.benchmarks.instruction_ablations --out FOLDER [--model PATH --name smollm2] [--steps N] [--quick]

Each variant differs from the base recipe in one thing and is trained with three seeds by SFTTrainer; worker processes
share the device. Answers to held-out chats are judged by shared.instructions. Packed rows hold about as many tokens a
step as unpacked ones. The receipt `instruction-ablations-NAME.json` is written anew whenever a run comes back.
"""

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # many processes share one memory

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig
from transformers import DataCollatorForLanguageModeling, set_seed
from trl import SFTConfig, SFTTrainer

from shared import evaluation, instructions, peft_training, receipts
from shared.data.templates import check_labels, use_template
from shared.models import load_model, load_tokenizer
from shared.models.weights import find_weights
from shared.profile import PROFILES, TINY_MODEL
from shared.rubrics import good_answer
from shared.training import Stopwatch, quiet
from tests.benchmarks.paired import differences

SEEDS = (1, 2, 3)
ROW = 512  # tokens of a packed row
SIZES = ("trainable_parameters", "total_parameters", "weights_gib")
GPU = torch.cuda.is_available()
SCORES = ("good answers", "sentences as asked", "stops", "good answers, several turns")


@dataclass(frozen=True)
class Variant:
    """What differs from the base recipe."""

    title: str
    changes: dict = field(default_factory=dict)  # of SFTConfig
    last_only: bool = False  # prompt and completion in place of messages
    system: bool = True
    padding: str = ""  # "own" or "end": the collator of transformers, which masks padding by its id


WHOLE = {"assistant_only_loss": False}
VARIANTS = {
    "base": Variant("every assistant turn is trained"),
    "last answer only": Variant("of the assistant's turns only the last is trained", WHOLE, last_only=True),
    "whole conversation": Variant("all tokens are trained", WHOLE),
    "packed, kept apart": Variant("bfd, rows of 512", {"packing": True, "packing_strategy": "bfd"}),
    "packed, wrapped": Variant("one stream, cut into rows of 512", {"packing": True, "packing_strategy": "wrapped"}),
    "NEFTune, alpha 5": Variant("noise on the embeddings", {"neftune_noise_alpha": 5.0}),
    "no system prompt": Variant("neither in training nor in the question", system=False),
    "padding is the end token": Variant("all tokens but the end token", WHOLE, padding="end"),
}


@dataclass(frozen=True)
class Setting:
    """What is the same for all variants."""

    weights: str
    model: str
    source: str
    steps: int
    batch: int
    prompts: int
    rate: float
    workers: int


def start() -> None:
    """A worker: one thread, and no warnings that each run would repeat."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()


@cache
def data(weights: str) -> tuple:
    """The tokenizer with its marked template, and the conversations: cached in each worker."""
    return use_template(load_tokenizer(weights)), instructions.load_conversations(None, seed=0)


def without_system(messages: list[dict], system: bool) -> list[dict]:
    return messages if system else [message for message in messages if message["role"] != "system"]


def by_ids(weights: str, padding: str):
    """The collator of transformers, which makes labels of the ids; `padding` "end": with the end token as padding."""
    tokenizer = load_tokenizer(weights)
    if padding == "end":
        tokenizer.pad_token = tokenizer.eos_token
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    return lambda rows: collator([{"input_ids": row["input_ids"]} for row in rows])


def make_trainer(setting: Setting, name: str, seed: int, folder: str) -> SFTTrainer:
    """The trainer of a variant; its model is loaded anew."""
    variant, (tokenizer, conversations) = VARIANTS[name], data(setting.weights)
    train = [without_system(messages, variant.system) for messages in conversations.train]
    rows = [{"prompt": m[:-1], "completion": m[-1:]} if variant.last_only else {"messages": m} for m in train]
    batch, length = setting.batch, 256
    if variant.changes.get("packing"):
        made = tokenizer.apply_chat_template(train[:200], tokenize=True, return_dict=True)["input_ids"]
        batch = max(1, round(setting.batch * statistics.fmean(map(len, made)) / ROW))
        length = ROW
    options = {
        "assistant_only_loss": True,
        "max_length": length,
        "per_device_train_batch_size": batch,
        "max_steps": setting.steps,
        "warmup_steps": max(1, setting.steps // 20),
        "learning_rate": setting.rate,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.0,
        "gradient_checkpointing": False,
        "bf16": False,
        "save_strategy": "no",
        "logging_steps": max(1, setting.steps // 10),
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": seed,
    }
    set_seed(seed)
    trainer = SFTTrainer(
        model=load_model(setting.weights),
        args=SFTConfig(output_dir=folder, **options | variant.changes),
        data_collator=by_ids(setting.weights, variant.padding) if variant.padding else None,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    check_labels(trainer.train_dataset, name)
    return quiet(trainer)


def judge(setting: Setting, model: torch.nn.Module, system: bool = True) -> dict:
    """Each held-out answer judged: lists of true and false by the names of SCORES, the loss on the references, a sample."""
    tokenizer, conversations = data(setting.weights)
    heldout = [without_system(messages, system) for messages in conversations.heldout[: setting.prompts]]
    records = conversations.records[: setting.prompts]
    room = max(len(ids) for ids in tokenizer([m[-1]["content"] for m in heldout])["input_ids"]) + 12
    answers = instructions.ask(model, tokenizer, [m[:-1] for m in heldout], room, 100)
    examples = [{"prompt": m[:-1], "completion": m[-1:]} for m in heldout]
    losses = peft_training.answer_losses(model, peft_training.make_batches(tokenizer, examples, 25))
    good = [good_answer(answer.text, record) for answer, record in zip(answers, records, strict=True)]
    return {
        "good answers": good,
        "good answers, several turns": [g for g, r in zip(good, records, strict=True) if instructions.several_turns(r)],
        "sentences as asked": [
            instructions.count_sentences(answer.text) == instructions.wanted_sentences(i)
            for i, answer in enumerate(answers)
        ],
        "stops": [answer.stopped for answer in answers],
        "loss": round(sum(loss for loss, _ in losses) / sum(count for _, count in losses), 5),
        "sample": answers[0].text[:200],
    }


def run(setting: Setting, name: str | None, seed: int) -> dict:
    """Train a variant and judge it; `name` None: the untuned model."""
    began = time.time()
    if name is None:
        return judge(setting, load_model(setting.weights)) | {"wall_s": round(time.time() - began, 1)}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(setting, name, seed, folder)
        stopwatch = Stopwatch()
        trainer.add_callback(stopwatch)
        trainer.train()
        found = judge(setting, trainer.model, VARIANTS[name].system)
    found |= stopwatch.speed(trainer) | receipts.parameter_counts(trainer.model)
    found["rows"] = len(trainer.train_dataset)
    found["train_loss"] = [round(float(e["loss"]), 4) for e in trainer.state.log_history if "loss" in e][-1]
    for key, peak in (("allocated", "max_memory_allocated"), ("reserved", "max_memory_reserved")):
        found[f"peak_gib_{key}"] = round(getattr(torch.cuda, peak)() / 2**30, 3) if GPU else None
    del trainer
    gc.collect()
    return found | {"wall_s": round(time.time() - began, 1)}


def summary(runs: Sequence[dict]) -> dict:
    """The scores of one variant over its seeds."""
    scores = {key: peft_training.seeds_score(key, [run[key] for run in runs]).as_dict() for key in SCORES}
    return scores | {"loss": round(statistics.fmean(run["loss"] for run in runs), 5), "rows": runs[0]["rows"]}


def receipt(setting: Setting, label: str, done: dict, before: dict | None, errors: list[str], began: float) -> dict:
    """The receipt of all that has come back; `error` in it where the base recipe has no run."""
    _, conversations = data(setting.weights)
    variants = {name: summary([done[name][s] for s in sorted(done[name])]) for name in VARIANTS if done.get(name)}
    good = {name: {seed: found["good answers"] for seed, found in by_seed.items()} for name, by_seed in done.items()}
    paired = differences(good, "base")
    for name, variant in variants.items():
        variant["against base"] = paired.get(name)
    base = next(iter(done.get("base", {}).values()), None)
    metrics = {}
    if base and before:
        shares = {key: evaluation.share_score(key, before[key]).as_dict() for key in SCORES}
        metrics = {"before": shares["good answers"], "after": variants["base"]["good answers"]}
        metrics |= {f"before, {key}": value for key, value in shares.items()}
    shown = ("loss", "train_loss", "steps", "step_s", "tokens_per_s", "rows", "wall_s", "sample")
    measured = {
        "name": f"instruction-ablations-{label}",
        "notebook": "03-Instruction-Tuning/Supervised-Instruction-Tuning.ipynb",
        "profile": "full" if GPU else "tiny",
        "method": "SFT with LoRA, r=16, alpha=32",
        "model": setting.model,
        "revision": PROFILES["small"].revision if setting.source.startswith("hub") else None,
        "weights_source": setting.source,
        "random_weights": False,
        "dataset": conversations.source,
        "dataset_sha256": conversations.sha256,
        **receipts.environment(),
        "seed": sorted({seed for by_seed in done.values() for seed in by_seed}),
        "batch_size": setting.batch,
        "sequence_length": 256,
        "accumulation": 1,
        "steps": setting.steps,
        "learning_rate": setting.rate,
        "workers": setting.workers,  # they share the device: step times are not those of a training alone
        **{key: base[key] for key in (*SIZES, "step_s", "tokens_per_s") if base},
        **{f"peak_gib_{key}": base[f"peak_gib_{key}"] for key in ("allocated", "reserved") if base},
        "wall_s": round(time.time() - began, 1),
        "metrics": metrics,
        "interval": "bootstrap over seeds and chats, no narrower than Wilson's for as many chats",
        "variants": variants,
        "titles": {name: variant.title for name, variant in VARIANTS.items()},
        "runs": [
            {"variant": name, "seed": seed}
            | {key: round(statistics.fmean(found[key]), 4) for key in SCORES}
            | {key: found[key] for key in shown}
            for name, by_seed in done.items()
            for seed, found in sorted(by_seed.items())
        ],
    }
    if errors:
        measured["note" if metrics else "error"] = "; ".join(errors)
    return dict.fromkeys(receipts.KEYS) | measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=str(TINY_MODEL), help="a folder, or a name on the Hub")
    parser.add_argument("--name", default="tiny", help="of the receipt: instruction-ablations-NAME.json")
    parser.add_argument("--variants", default=";".join(VARIANTS), help="names joined by semicolons")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=300, help="held-out chats that are asked")
    parser.add_argument("--rate", type=float, help="learning rate; 4e-3 for falcon-tiny, 1e-3 for others")
    parser.add_argument("--workers", type=int, default=6 if GPU else 1)
    parser.add_argument("--quick", action="store_true", help="few steps and prompts, one seed: does it run?")
    args = parser.parse_args()
    names, began = args.variants.split(";"), time.time()
    if unknown := set(names) - set(VARIANTS):
        parser.error(f"no variant is called {', '.join(sorted(unknown))}: they are {', '.join(VARIANTS)}")
    if args.quick:
        args.steps, args.prompts, args.batch, args.seeds = min(args.steps, 12), min(args.prompts, 100), 4, 1
    args.out.mkdir(parents=True, exist_ok=True)
    pinned = PROFILES["small"].revision if args.model == PROFILES["small"].model else None
    found = find_weights(args.model, pinned)
    model = args.model if found.source != "folder" else Path(found.path).name
    rate = args.rate or (4e-3 if Path(found.path) == TINY_MODEL else 1e-3)
    setting = Setting(found.path, model, found.source, args.steps, args.batch, args.prompts, rate, args.workers)
    done, errors, before = {}, [], None
    pool = ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn"), start)
    tasks = [(None, 0), *((name, seed) for seed in SEEDS[: args.seeds] for name in names)]
    futures = {pool.submit(run, setting, *task): task for task in tasks}
    for future in as_completed(futures):
        name, seed = futures[future]
        try:
            result = future.result()
        except Exception as error:
            traceback.print_exc()
            errors.append(f"{name}, seed {seed}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300])
            continue
        if name is None:
            before = result
        else:
            done.setdefault(name, {})[seed] = result
        shares = ", ".join(f"{key} {statistics.fmean(result[key]):.1%}" for key in SCORES)
        print(
            f"[{time.time() - began:4.0f} s] {name or 'untuned'} {seed}: {shares}, loss {result['loss']:.3f}, "
            f"{result['wall_s']:.0f} s",
            flush=True,
        )
        made = receipt(setting, args.name, done, before, errors, began)
        receipts.write_text(args.out / f"{made['name']}.json", json.dumps(made, indent=2, default=str) + "\n")
    pool.shutdown()
    print("\n".join(errors))
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
