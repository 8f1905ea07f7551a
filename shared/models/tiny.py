"""falcon-tiny, the model of profile `tiny`: a Falcon of 3 M parameters, pretrained here on the course's own text.

    python -m shared.models.tiny [--steps N] [--out FOLDER]        (`make tiny-model`; measured time in SETUP.md)

Same architecture as Falcon-7B in small: rotary positions, multi-query attention with heads of 64, attention and MLP in
parallel, tied embeddings, no biases. The optimiser is Muon for the layers' matrices (Jordan 2024) and AdamW for the
rest, the schedule a warm-up and a cosine. Seeds are fixed; what they do not reach is BPE dropout, which the library
`tokenizers` draws from a generator of its own: a second run gives an equally good model, not the same bits.
"""

import argparse
import itertools
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import FalconConfig, FalconForCausalLM, PreTrainedTokenizerFast, set_seed

from shared.data.corpus import documents
from shared.profile import TINY_MODEL

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 1536
SEQUENCE_LENGTH = 256
BATCH_SIZE = 64
STEPS = 3000
BPE_DROPOUT = 0.1
SEED = 7


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 1,536 entries with single digits; the end-of-text token is not the padding token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token="<|pad|>", model_max_length=1024
    )


def build_model(tokenizer: PreTrainedTokenizerFast, width: int = 256, layers: int = 5) -> FalconForCausalLM:
    """The untrained model, in float32; `width` is a multiple of 64, the size of an attention head."""
    config = FalconConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        multi_query=True,
        parallel_attn=True,
        new_decoder_architecture=False,
        alibi=False,
        bias=False,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return FalconForCausalLM(config)


def packed_rows(
    tokenizer: PreTrainedTokenizerFast, texts: Iterator[str], batch_size: int, length: int
) -> Iterator[torch.Tensor]:
    """Documents one after the other, each closed by the end token, cut into batches of (batch_size, length).

    Ends when `texts` does; what does not fill a batch is left out.
    """
    size = batch_size * length
    tokens: list[int] = []
    while chunk := list(itertools.islice(texts, 256)):
        for ids in tokenizer(chunk)["input_ids"]:
            tokens += [*ids, tokenizer.eos_token_id]
        while len(tokens) >= size:
            yield torch.tensor(tokens[:size]).view(batch_size, length)
            del tokens[:size]


def build_optimizers(model: FalconForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices; AdamW for the embedding and the norms."""
    matrices = [p for p in model.transformer.h.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=0.01, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=3e-3, weight_decay=0.0),
    ]


def schedule(step: int, steps: int, warmup: int = 50) -> float:
    """Factor on the learning rate: linear warm-up, then a cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(
    model: FalconForCausalLM,
    rows: Iterator[torch.Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    steps: int,
    report: Callable[[int, list[torch.Tensor]], None] = lambda step, losses: None,
    factor: Callable[[int, int], float] = schedule,
) -> list[torch.Tensor]:
    """Train `model` in place on the next `steps` batches of `rows`; returns the loss of each step, in nats per token.

    After each step `report` gets the number of steps done and the losses so far. `factor(step, steps)` multiplies the
    learning rates of the `optimizers`.
    """
    base_rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    device, losses = model.device, []
    model.train()
    for step in range(steps):
        batch = next(rows).to(device)
        for optimizer, rate in zip(optimizers, base_rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor(step, steps)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        report(step + 1, losses)
    return losses


def pretrain(steps: int = STEPS) -> tuple[FalconForCausalLM, PreTrainedTokenizerFast]:
    """Train tokenizer and model from nothing; prints the loss every 200 steps."""
    set_seed(SEED)
    tokenizer = train_tokenizer(itertools.islice(documents(seed=SEED), 20_000))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(tokenizer).to(device)
    # BPE dropout (Provilkov 2020) cuts words at random, so that every piece is learnt and unseen words can be copied.
    tokenizer.backend_tokenizer.model.dropout = BPE_DROPOUT
    rows = packed_rows(tokenizer, documents(seed=SEED + 1), BATCH_SIZE, SEQUENCE_LENGTH)
    started = time.perf_counter()

    def report(step: int, losses: list[torch.Tensor]) -> None:
        if step % 200 == 0 or step == steps:
            speed = step * BATCH_SIZE * SEQUENCE_LENGTH / (time.perf_counter() - started)
            print(f"step {step}/{steps}  loss {torch.stack(losses[-200:]).mean():.3f}  {speed:,.0f} tokens/s")

    train(model, rows, build_optimizers(model), steps, report)
    tokenizer.backend_tokenizer.model.dropout = None
    return model.cpu().eval(), tokenizer


def save(model: FalconForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write weights (bf16 safetensors), configuration and tokenizer; `out` is replaced only when all is written."""
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(unfinished, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=TINY_MODEL)
    args = parser.parse_args()
    model, tokenizer = pretrain(args.steps)
    save(model, tokenizer, args.out)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters in {args.out}")


if __name__ == "__main__":
    main()
