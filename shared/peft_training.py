"""Training and scoring that are the same for every method: data, order, steps, loss, schedule.

A plain loop in place of a Trainer: methods that need an optimiser or a call of their own in each step stand out.
"""

import json
import math
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase, StoppingCriteriaList, get_cosine_schedule_with_warmup

from shared.data.tokens import example_texts
from shared.errors import DataError
from shared.evaluation import FirstLine, Score, field_f1, generate, parse_answer, wilson_interval
from shared.peft_methods import LORAPLUS_RATIO, METHODS


def make_batches(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[dict],
    size: int,
    count: int | None = None,
    seed: int | None = None,
    max_length: int = 512,
    prefix: str = "",
) -> list[dict[str, torch.Tensor]]:
    """`count` batches of `size` examples: input_ids, attention_mask, labels, each (rows, tokens), padded on the right.

    `seed` decides the order, anew in each epoch; None: the order of `examples`, once. Labels are the answer and the end
    token. Longer examples are cut. `prefix` stands before every prompt. Raises DataError where no answer is left.
    """
    if count is None:
        order = list(range(len(examples)))
    else:
        rng, order = random.Random(seed), []
        while len(order) < size * count:
            order += rng.sample(range(len(examples)), len(examples))
        order = order[: size * count]
    made = []
    for start in range(0, len(order), size):
        rows = []
        for i in order[start : start + size]:
            prompt, whole = example_texts(tokenizer, examples[i])
            skip = len(tokenizer(prefix + prompt)["input_ids"]) if prefix + prompt else 1
            ids = [*tokenizer(prefix + whole)["input_ids"], tokenizer.eos_token_id][:max_length]
            rows.append((ids, [-100] * min(skip, len(ids)) + ids[skip:]))
        width = max(len(ids) for ids, _ in rows)
        fill = ((tokenizer.pad_token_id, [ids for ids, _ in rows]), (-100, [labels for _, labels in rows]))
        input_ids, labels = (torch.tensor([r + [pad] * (width - len(r)) for r in part]) for pad, part in fill)
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows])
        made.append({"input_ids": input_ids, "attention_mask": mask, "labels": labels})
    if not any((batch["labels"] >= 0).any() for batch in made):
        raise DataError(f"No example leaves a token to train within {max_length} tokens: shorten the prompts.")
    return made


def precision(model: torch.nn.Module) -> AbstractContextManager:
    """Autocast to the type of the base model's weights where they have 16 bits: what is trained is float32."""
    for parameter in model.parameters():
        if parameter.dtype in (torch.bfloat16, torch.float16):
            return torch.autocast(model.device.type, parameter.dtype)
    return nullcontext()


def make_optimizer(name: str, model: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW without weight decay; LoRA+ has a higher rate for the matrices B (Hayou et al. 2024)."""
    if name == "loraplus":
        options = {"lr": rate, "loraplus_lr_ratio": LORAPLUS_RATIO, "weight_decay": 0.0}
        return create_loraplus_optimizer(model, torch.optim.AdamW, **options)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)


def train(name: str, model: torch.nn.Module, batches: Sequence[dict], rate: float) -> dict[str, list[float]]:
    """One step for each of `batches`: "losses", and "step_s", each a list. Cosine schedule, 5 % warm-up, norm clipped at 1."""
    optimizer, steps, device = make_optimizer(name, model, rate), len(batches), model.device
    schedule = get_cosine_schedule_with_warmup(optimizer, max(1, steps // 20), steps)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    losses, seconds = [], []
    model.train()
    for step, batch in enumerate(batches):
        began = time.perf_counter()
        with precision(model):
            loss = model(**{key: value.to(device) for key, value in batch.items()}, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if name == "adalora":  # moves ranks to where they count: needs the gradients
            model.base_model.update_and_allocate(step)
        optimizer.zero_grad()
        losses.append(loss.detach())
        if device.type == "cuda":  # or the time would be that of asking for the work
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return {"losses": torch.stack(losses).float().tolist(), "step_s": seconds}


@torch.inference_mode()
def answer_losses(model: torch.nn.Module, batches: Sequence[dict]) -> list[tuple[float, int]]:
    """(summed loss in nats, tokens) of the answer of each example in `batches`."""
    was_training, found = model.training, []
    model.eval()
    for batch in batches:
        here = {key: value.to(model.device) for key, value in batch.items() if key != "labels"}
        labels = batch["labels"].to(model.device)[:, 1:]
        answer = labels >= 0
        with precision(model):
            logits = model(**here).logits
        logits = logits[:, -batch["labels"].shape[1] : -1][answer].float()  # virtual tokens stand in front
        losses = torch.zeros(labels.shape, device=labels.device)
        losses[answer] = torch.nn.functional.cross_entropy(logits, labels[answer], reduction="none")
        found += zip(losses.sum(1).tolist(), answer.sum(1).tolist(), strict=True)
    model.train(was_training)
    return found


def answer_f1(
    name: str,
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[dict],
    batch_size: int,
    prefix: str = "",
) -> list[float]:
    """Field F1 of the greedy answer to each of `examples`; 1 is an exact match. What can be merged is merged for it."""
    merge = isinstance(model, PeftModel) and METHODS[name].merges
    model.eval()  # some methods merge only what is not being trained
    if merge:
        model.merge_adapter()
    expected = [example["completion"] for example in examples]
    room = max(len(ids) for ids in tokenizer(expected)["input_ids"]) + 8
    prompts = [example["prompt"] for example in examples]
    with precision(model):
        if isinstance(model, PeftModel) and METHODS[name].virtual:
            answers = generate_behind_prompt(model, tokenizer, prompts, room, batch_size)
        else:
            answers = generate(model, tokenizer, prompts, room, batch_size, first_line_only=True, prefix=prefix)
    if merge:
        model.unmerge_adapter()
    return [field_f1(parse_answer(text), json.loads(truth)) for text, truth in zip(answers, expected, strict=True)]


@torch.inference_mode()
def generate_behind_prompt(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_new_tokens: int, batch_size: int
) -> list[str]:
    """First lines of the greedy completions of `prompts` behind learnt virtual tokens.

    PEFT puts virtual tokens before the padding on the left and drops the positions: the padding then moves prompt and
    virtual tokens apart, as never in training. Here the padding comes first.
    """
    base, embed, completions = model.get_base_model(), model.get_input_embeddings(), []
    for start in range(0, len(prompts), batch_size):
        rows = [
            tokenizer(text, return_tensors="pt")["input_ids"].to(model.device) for text in prompts[start:][:batch_size]
        ]
        learnt = model.get_prompt(batch_size=1).to(embed.weight.dtype)
        inputs = [torch.cat([learnt[0], embed(ids[0])]) for ids in rows]
        width = max(map(len, inputs))
        padded = torch.stack([torch.nn.functional.pad(row, (0, 0, width - len(row), 0)) for row in inputs])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in inputs], device=model.device)
        output = base.generate(
            inputs_embeds=padded,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([FirstLine(tokenizer, 0)]),
        )
        completions += tokenizer.batch_decode(output, skip_special_tokens=True)
    return completions


def seeds_score(name: str, runs: Sequence[Sequence[float | None]], resamples: int = 2000) -> Score:
    """The mean over seeds and examples of values from 0 to 1; `runs`: for each seed the values, in one order of examples.

    The interval is a bootstrap that draws seeds and examples, both anew each time; it is no narrower than Wilson's for
    as many examples, which does not end at a point where all values are the same. None: an example that does not count
    for that seed; `n` is the number of examples that count for any.
    """
    tensor = torch.tensor([[math.nan if v is None else float(v) for v in run] for run in runs], dtype=torch.float64)
    tensor = tensor[:, ~tensor.isnan().all(0)]
    n = tensor.shape[1]
    means = tensor[_drawn(*tensor.shape, resamples)].nanmean((1, 2)).sort().values
    value = tensor.nanmean().item()
    low, high = wilson_interval(round(value * n), n)
    drawn_low, drawn_high = means[int(0.025 * resamples)].item(), means[int(0.975 * resamples) - 1].item()
    return Score(name, value, n, min(low, drawn_low), max(high, drawn_high))


def seeds_difference(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], resamples: int = 2000
) -> dict[str, float]:
    """The difference of two means over the same seeds and examples, `second` minus `first`, with a 95 % interval.

    {"difference", "low", "high"}, paired: a bootstrap that draws seeds and examples, for both sides the same ones. Raises
    ValueError where the two are not of the same seeds and examples.
    """
    sizes = [[len(run) for run in runs] for runs in (first, second)]
    if sizes[0] != sizes[1] or not sizes[0] or len(set(sizes[0])) > 1:
        raise ValueError(f"examples of each seed: {sizes[0]} and {sizes[1]}; give both sides' values on the same ones")
    one, two = (
        torch.tensor([[float(v) for v in run] for run in runs], dtype=torch.float64) for runs in (first, second)
    )
    change = two - one
    means = change[_drawn(*change.shape, resamples)].mean((1, 2)).sort().values
    found = change.mean(), means[int(0.025 * resamples)], means[int(0.975 * resamples) - 1]
    return {key: round(value.item(), 5) for key, value in zip(("difference", "low", "high"), found, strict=True)}


def _drawn(seeds: int, examples: int, resamples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of a bootstrap over both, to index a (seeds, examples) tensor: (resamples, seeds, examples)."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(seeds, (resamples, seeds, 1), generator=generator)
    return rows, torch.randint(examples, (resamples, 1, examples), generator=generator)


def adapter_bytes(model: torch.nn.Module) -> int:
    """Bytes on disk of what a method adds: the file that PEFT writes, or all trained parameters where it has no part."""
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(model, PeftModel):
            model.save_pretrained(folder, save_embedding_layers=False)
        else:
            trained = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
            save_file(trained, Path(folder) / "trained.safetensors")
        return sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
