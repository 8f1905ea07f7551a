"""Many short trainings that differ in one setting each, and what may be concluded from them.

A run is a dict: `settings`, `seed`, `heldout_loss` (nats per trained token), `train_loss` (mean of the last
ten steps), `trainable_parameters`, `step_s`, `tokens`. The rules of thumb and their verdicts are in shared.rules.
"""

import copy
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from shared import peft_training
from shared.errors import AdapterError
from shared.models import default_dtype

WORST = 12.0  # nats per token: what a run counts as that diverged, or ended worse than that


@dataclass(frozen=True)
class Setting:
    """One cell of an experiment. `targets`: all, attention or mlp; "everything" trains the model itself, no adapter."""

    rank: int = 16
    alpha: float = 32
    rslora: bool = False
    targets: str = "all"
    learning_rate: float = 1e-3
    dropout: float = 0.0
    examples: int | None = None  # different training examples; None: all there are
    steps: int = 80
    batch_size: int = 8

    @property
    def scale(self) -> float:
        """By what the product BA is multiplied."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


def linear_layers(model: PreTrainedModel, targets: str) -> dict[str, torch.nn.Linear]:
    """The linear layers that `targets` means, by name: all of the blocks, or those within attention or MLP.

    Raises AdapterError where the model has none that can be told by their names.
    """
    output = model.get_output_embeddings()
    found = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not output}
    if targets != "all":
        mark = {"attention": ("attn", "attention"), "mlp": ("mlp",)}[targets]
        found = {name: layer for name, layer in found.items() if any(part in name for part in mark)}
    if not found:
        raise AdapterError(f"No linear layer of {type(model).__name__} is known as {targets}: leave that setting out.")
    return found


def parameters_per_rank(model: PreTrainedModel, targets: str) -> int:
    """The parameters that each unit of rank adds: inputs plus outputs of every adapted layer."""
    return sum(layer.in_features + layer.out_features for layer in linear_layers(model, targets).values())


def matching_rank(model: PreTrainedModel, targets: str, rank: int) -> int:
    """The rank at which adapters on `targets` have as many parameters as those of `rank` on all linear layers."""
    return round(rank * parameters_per_rank(model, "all") / parameters_per_rank(model, targets))


def lora_config(model: PreTrainedModel, setting: Setting) -> LoraConfig:
    """The LoraConfig of a setting."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=setting.rank,
        lora_alpha=setting.alpha,
        use_rslora=setting.rslora,
        lora_dropout=setting.dropout,
        target_modules=sorted(linear_layers(model, setting.targets)),
    )


def make_batches(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[dict], setting: Setting, seed: int, max_length: int
) -> list[dict[str, torch.Tensor]]:
    """The batches of a run: every example once before any comes again. Settings with the same seed get the same."""
    chosen = random.Random(seed).sample(examples, len(examples))[: setting.examples]
    return peft_training.make_batches(tokenizer, chosen, setting.batch_size, setting.steps, seed, max_length)


def mixed(model: torch.nn.Module) -> torch.autocast:
    """Arithmetic of float32 weights on a CPU that multiplies in bfloat16; elsewhere the weights' own type decides."""
    device, dtype = model.device.type, default_dtype()
    # Autocast keeps the casts of trained weights until it ends, and a whole training happens within one: without a cache.
    return torch.autocast(device, dtype, enabled=device == "cpu" and dtype == torch.bfloat16, cache_enabled=False)


def heldout_loss(model: torch.nn.Module, batches: Sequence[dict]) -> float:
    """Mean loss in nats per trained token, over all tokens; a run that diverged counts as WORST."""
    with mixed(model):
        return mean_loss(peft_training.answer_losses(model, batches))


def mean_loss(losses: Sequence[tuple[float, int]]) -> float:
    """The mean over tokens of (loss, tokens) of each example; WORST where it is no number, or worse."""
    value = sum(loss for loss, _ in losses) / sum(count for _, count in losses)
    return min(value, WORST) if math.isfinite(value) else WORST


def train(base: PreTrainedModel, batches: Sequence[dict], setting: Setting, seed: int) -> tuple[torch.nn.Module, dict]:
    """Train `setting` on `base`; returns the trained model and the run, without held-out loss but with that of each step.

    `base` holds the adapter afterwards: `release` takes it out. Where everything is trained, it is a copy of `base`.
    """
    set_seed(seed)
    if setting.targets == "everything":
        name, model = "full", copy.deepcopy(base).requires_grad_(True)
    else:
        name, model = "lora", get_peft_model(base, lora_config(base, setting))
    with mixed(model):
        trained = peft_training.train(name, model, batches, setting.learning_rate)
    history = trained["losses"]
    last = statistics.fmean(history[-10:])
    return model, {
        "settings": asdict(setting),
        "seed": seed,
        "train_loss": round(last, 5) if math.isfinite(last) else WORST,
        "history": history,
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "step_s": round(statistics.median(trained["step_s"]), 4),
        "tokens": sum(int(batch["attention_mask"].sum()) for batch in batches),
    }


def release(model: torch.nn.Module) -> None:
    """Take the adapter out of its base model, which is then as it was."""
    if hasattr(model, "unload"):
        model.unload()


def run(base: PreTrainedModel, batches: Sequence[dict], heldout: Sequence[dict], setting: Setting, seed: int) -> dict:
    """Train one cell on `batches` and measure its loss on the batches `heldout`."""
    model, result = train(base, batches, setting, seed)
    result["heldout_loss"] = round(heldout_loss(model, heldout), 5)
    release(model)
    return result
