"""Adapters in bfloat16 or float32, the library's layers or the fast ones: losses and scores of falcon-tiny, three seeds.

    python -m tests.benchmarks.adapter_type [FOLDER]

Writes the receipt adapter-type-tiny.json: the loss of each step, validation loss and exact match of each run.
"""

import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from shared import evaluation, receipts
from shared.data import ORDERS_HELDOUT, ORDERS_TRAIN, load_examples
from shared.models import PROJECTIONS, fast_training, fetch_weights, load_model, load_tokenizer
from shared.profile import load_profile
from shared.training import Stopwatch, quiet

SEEDS = (42, 43, 44)
KINDS = {  # name: (fast layers, type of the adapters)
    "library, bfloat16": (False, torch.bfloat16),
    "fast, bfloat16": (True, torch.bfloat16),
    "fast, float32": (True, torch.float32),
}


def train(seed: int, fast: bool, dtype: torch.dtype, folder: str) -> tuple[dict, dict]:
    """What came out, and what the receipt says of the run."""
    profile = fetch_weights(load_profile("adapter-type", {"PROFILE": "tiny", "SEED": str(seed)}))
    set_seed(seed)
    tokenizer = load_tokenizer(profile.weights)
    examples = load_examples(None, ORDERS_TRAIN, ORDERS_HELDOUT, seed=seed)
    model = load_model(profile.weights, quantize="nf4")
    if fast:
        fast_training(model, recompute=False)
    stopwatch = Stopwatch()
    trainer = quiet(
        SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                max_steps=profile.max_steps,
                per_device_train_batch_size=profile.batch_size,
                learning_rate=profile.learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=profile.max_steps // 20,
                optim="adamw_torch_fused",
                weight_decay=0.0,
                max_length=profile.max_length,
                gradient_checkpointing=False,
                bf16=False,
                save_strategy="no",
                logging_steps=1,
                report_to=[],
                disable_tqdm=True,
                dataloader_pin_memory=False,
                seed=seed,
            ),
            train_dataset=Dataset.from_list(examples.train[:-16]),
            eval_dataset=Dataset.from_list(examples.train[-16:]),
            processing_class=tokenizer,
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=PROJECTIONS),
            callbacks=[stopwatch],
        )
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    trainer.train()
    losses = [round(float(entry["loss"]), 4) for entry in trainer.state.log_history if "loss" in entry]
    settings = {"batch_size": profile.eval_batch_size, "max_length": profile.max_length}
    score = evaluation.evaluate(trainer.model, tokenizer, examples.heldout[: profile.eval_examples], **settings)
    outcome = {
        "exact_match": next(iter(score.values())).as_dict(),
        "validation_loss": round(float(trainer.evaluate()["eval_loss"]), 4),
        "losses": losses,
    }
    about = receipts.parameter_counts(trainer.model) | stopwatch.speed(trainer)
    about |= {"batch_size": profile.batch_size, "sequence_length": profile.max_length, "accumulation": 1}
    return outcome, about | {"dataset": examples.source, "dataset_sha256": examples.sha256, "model": "falcon-tiny"}


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/bench")
    out.mkdir(parents=True, exist_ok=True)
    began, outcomes, about = time.time(), {}, {}
    for seed, (name, (fast, dtype)) in itertools.product(SEEDS, KINDS.items()):
        with tempfile.TemporaryDirectory() as folder:
            outcomes[f"{name}, seed {seed}"], about = train(seed, fast, dtype, folder)
        score = outcomes[f"{name}, seed {seed}"]["exact_match"]["value"]
        print(f"{name}, seed {seed}: exact match {score:.1%}", flush=True)
    receipt = dict.fromkeys(receipts.KEYS) | about | receipts.environment()
    receipt |= {
        "name": "adapter-type-tiny",
        "notebook": "02-PEFT/Fast-and-Lean-Falcon.ipynb",
        "profile": "tiny",
        "method": "QLoRA, adapters in bfloat16 or float32",
        "random_weights": False,
        "seed": list(SEEDS),
        "wall_s": round(time.time() - began, 1),
        "metrics": {},
        "runs": outcomes,
    }
    receipts.write_text(out / "adapter-type-tiny.json", json.dumps(receipt, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
