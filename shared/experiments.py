"""Many short trainings that differ in one setting each, and what may be concluded from them.

A run is a dict: `settings`, `seed`, `heldout_loss` (nats per trained token), `train_loss` (mean of the last
ten steps), `trainable_parameters`, `step_s`, `tokens`. The rules of thumb and their verdicts are in shared.rules.
"""

import copy
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.optimization import get_cosine_schedule_with_warmup

from shared.data.tokens import example_texts
from shared.errors import AdapterError, DataError
from shared.models import default_dtype

WORST = 12.0  # nats per token: what a run counts as that diverged, or ended worse than that
Row = tuple[list[int], int]  # the tokens of an example, and where its completion begins


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


def tokenize(tokenizer: PreTrainedTokenizerBase, examples: Sequence[dict], max_length: int) -> list[Row]:
    """Tokens of each example, the end token last, and where what is trained begins. Raises DataError if none is left."""
    rows = []
    for example in examples:
        prompt, whole = example_texts(tokenizer, example)
        start = len(tokenizer(prompt)["input_ids"]) if prompt else 1  # nothing predicts the first token
        ids = [*tokenizer(whole)["input_ids"], tokenizer.eos_token_id][:max_length]
        if len(ids) > start:
            rows.append((ids, start))
    if not rows:
        raise DataError(f"No example leaves a token to train within {max_length} tokens: shorten the prompts.")
    return rows


def collate(rows: Sequence[Row], device: torch.device) -> dict[str, torch.Tensor]:
    """One batch, padded on the right; prompts and padding are masked (label -100) or not attended to."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in rows])
    length = torch.tensor([len(row) for row, _ in rows])[:, None]
    start, place = torch.tensor([start for _, start in rows])[:, None], torch.arange(width)[None]
    labels = ids.masked_fill((place < start) | (place >= length), -100)
    batch = {"input_ids": ids, "attention_mask": (place < length).long(), "labels": labels}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def order(rows: Sequence[Row], setting: Setting, seed: int) -> list[list[Row]]:
    """The batches of a run: every example once before any comes again. Settings with the same seed get the same."""
    rng, chosen, stream = random.Random(seed), list(rows), []
    rng.shuffle(chosen)
    chosen = chosen[: setting.examples]
    while len(stream) < setting.steps * setting.batch_size:
        stream += rng.sample(chosen, len(chosen))
    return [stream[i * setting.batch_size :][: setting.batch_size] for i in range(setting.steps)]


def mixed(model: torch.nn.Module) -> torch.autocast:
    """Arithmetic of float32 weights on a CPU that multiplies in bfloat16; elsewhere the weights' own type decides."""
    device, dtype = model.device.type, default_dtype()
    return torch.autocast(device, dtype, enabled=device == "cpu" and dtype == torch.bfloat16)


@torch.no_grad()
def heldout_losses(model: PreTrainedModel, rows: Sequence[Row], batch_size: int = 25) -> list[tuple[float, int]]:
    """(loss in nats, tokens) of the completion of each row, in the order of `rows`."""
    was_training, found = model.training, {}
    model.eval()
    ranked = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    for first in range(0, len(ranked), batch_size):
        chosen = ranked[first : first + batch_size]
        batch = collate([rows[i] for i in chosen], model.device)
        labels = batch.pop("labels")[:, 1:]
        with mixed(model):
            logits = model(**batch, use_cache=False).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
        counts = (labels != -100).sum(1)
        found.update(zip(chosen, zip(each.sum(1).tolist(), counts.tolist(), strict=True), strict=True))
    model.train(was_training)
    return [found[i] for i in range(len(rows))]


def mean_loss(losses: Sequence[tuple[float, int]]) -> float:
    """Nats per token; WORST for what diverged."""
    value = sum(loss for loss, _ in losses) / sum(count for _, count in losses)
    return min(value, WORST) if math.isfinite(value) else WORST


def train(base: PreTrainedModel, rows: Sequence[Row], setting: Setting, seed: int) -> tuple[torch.nn.Module, dict]:
    """Train `setting` on `base`; returns the trained model and the run, without held-out loss but with the loss of each step.

    `base` holds the adapter afterwards: `release` takes it out. Where everything is trained, it is a copy of `base`.
    """
    set_seed(seed)
    if setting.targets == "everything":
        model = copy.deepcopy(base).requires_grad_(True).train()
    else:
        model = get_peft_model(base, lora_config(base, setting)).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=setting.learning_rate, weight_decay=0.0, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, max(1, setting.steps // 20), setting.steps)
    losses, began = [], None
    for batch in order(rows, setting, seed):
        with mixed(model):
            loss = model(**collate(batch, model.device), use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        began = began or time.perf_counter()  # after the first step, which allocates
    history = torch.stack(losses).tolist()  # waits for a GPU
    seconds = time.perf_counter() - began
    last = statistics.fmean(history[-10:])
    return model, {
        "settings": asdict(setting),
        "seed": seed,
        "train_loss": round(last, 5) if math.isfinite(last) else WORST,
        "history": history,
        "trainable_parameters": sum(parameter.numel() for parameter in trained),
        "step_s": round(seconds / max(1, setting.steps - 1), 4),  # mean, without the first step
        "tokens": sum(len(ids) for batch in order(rows, setting, seed) for ids, _ in batch),
    }


def release(model: torch.nn.Module) -> None:
    """Take the adapter out of its base model, which is then as it was."""
    if hasattr(model, "unload"):
        model.unload()


def run(base: PreTrainedModel, rows: Sequence[Row], heldout: Sequence[Row], setting: Setting, seed: int) -> dict:
    """Train one cell and measure its held-out loss."""
    model, result = train(base, rows, setting, seed)
    result["heldout_loss"] = round(mean_loss(heldout_losses(model, heldout)), 5)
    release(model)
    return result
