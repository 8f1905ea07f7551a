"""What the notebook's trainer costs over a hand-written loop: same model, batches and LoRA layers, taking turns.

make bench        without a GPU, prints the ratio of the medians for profiles tiny and small, of the two attention
                  kernels in the hand-written loop, and of Falcon's fast training layers to the library's; absolute
                  times are this machine's
"""

import itertools
import math
import statistics
import sys
import tempfile
import time

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from shared.data import ORDERS_HELDOUT, ORDERS_TRAIN, load_examples
from shared.models import fast_training, fetch_weights, load_model, load_tokenizer
from shared.profile import Profile, load_profile
from shared.training import quiet

STEPS = 6  # in a turn; the first is left out


class Moments(TrainerCallback):
    """The time at which each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.ends.append(now())


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def differences(moments: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(moments)]


def hand_written(model: torch.nn.Module, batches: list[dict], learning_rate: float) -> list[float]:
    """Seconds of each step but the first of a plain PyTorch loop over `batches`."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, fused=True)
    model.train()
    ends = []
    for batch in batches:
        loss = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ends.append(now())
    return differences(ends)


def compare(profile: Profile, turns: int) -> tuple[float, float, float, float]:
    """Median seconds a step: the trainer, the hand-written loop, the same with the attention that load_model passes by,
    the same with fast_training.

    The third is NaN for models whose attention cannot be exchanged (Falcon's), the last for models other than Falcon.
    """
    set_seed(profile.seed)
    tokenizer = load_tokenizer(profile.weights)
    model = load_model(profile.weights, quantize="nf4")
    lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    train = Dataset.from_list(
        load_examples(None, ORDERS_TRAIN, ORDERS_HELDOUT, seed=0).train[: profile.batch_size * STEPS]
    )
    trained, written, other_kernel, fast = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        options = SFTConfig(
            output_dir=folder,
            max_steps=STEPS,
            per_device_train_batch_size=profile.batch_size,
            learning_rate=profile.learning_rate,
            optim="adamw_torch_fused",
            gradient_checkpointing=profile.gradient_checkpointing,
            bf16=False,
            save_strategy="no",
            logging_steps=STEPS,
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        for turn in range(turns):
            moments = Moments()
            trainer = quiet(
                SFTTrainer(
                    model=model,
                    args=options,
                    train_dataset=train,
                    processing_class=tokenizer,
                    peft_config=lora if turn == 0 else None,
                    callbacks=[moments],
                )
            )
            model = trainer.model
            batches = list(trainer.get_train_dataloader())
            trainer.train()
            trained += differences(moments.ends)
            written += hand_written(model, batches, profile.learning_rate)
            chosen = model.config._attn_implementation
            model.set_attn_implementation("sdpa" if chosen == "eager" else "eager")
            if model.config._attn_implementation != chosen:
                other_kernel += hand_written(model, batches, profile.learning_rate)
                model.set_attn_implementation(chosen)
            falcon = model.get_base_model()
            stock_forward = falcon.base_model.forward
            if fast_training(falcon, recompute=profile.gradient_checkpointing) is None:
                fast += hand_written(model, batches, profile.learning_rate)
                falcon.base_model.forward = stock_forward
    return tuple(statistics.median(times or [math.nan]) for times in (trained, written, other_kernel, fast))


def main() -> None:
    names = sys.argv[1:] or ["tiny", "small"]
    print("profile   trainer s/step   by hand s/step   trainer/by hand   other attention/by hand   fast/by hand")
    for name in names:
        profile = fetch_weights(load_profile("bench", {"PROFILE": name}))
        trainer, by_hand, other, fast = compare(profile, turns=5 if name == "tiny" else 3)
        ratios = f"{trainer / by_hand:15.2f}   {other / by_hand:23.2f}   {fast / by_hand:12.2f}"
        print(f"{name:8}  {trainer:14.3f}   {by_hand:14.3f}   {ratios}")


if __name__ == "__main__":
    main()
