"""Many answers to the same problem: drawing them, and what they are worth together.

`Sample`s of a problem come from `draw`; `pass_at_k`, `majority_share` and `best_of_share` say how often k of them lead to
the right answer, on average over every way to choose the k among those drawn.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from shared.errors import CourseError
from shared.models.quantization import expanded_weights


class SamplingError(CourseError):
    """Counts of samples that cannot be."""


@dataclass(frozen=True)
class Sample:
    """A completion, its tokens (the end token included) and its log-probability under the model, in nats."""

    text: str
    tokens: int
    log_prob: float  # at temperature 1, whatever it was drawn at

    @property
    def mean_log_prob(self) -> float:
        """Nats per token: how sure the model was, whatever the length."""
        return self.log_prob / max(1, self.tokens)


@torch.inference_mode()
def draw(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    k: int,
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 1.0,
) -> list[list[Sample]]:
    """`k` completions of each prompt, tokens drawn from all at `temperature`; 0 takes the likeliest. Set the seed before.

    A prompt is computed once, and its keys and values are shared by its k completions; `batch_size` counts completions.
    Raises SamplingError where nothing would be drawn.
    """
    if k < 1 or max_new_tokens < 1 or temperature < 0 or not all(prompts):
        raise SamplingError(
            f"k={k}, max_new_tokens={max_new_tokens}, temperature={temperature}: take 1 or more of each completion and "
            "token, a temperature of 0 or more, and no empty prompt."
        )
    was_training, side = model.training, tokenizer.padding_side
    model.eval()
    tokenizer.padding_side = "left"
    order, found = sorted(range(len(prompts)), key=lambda i: len(prompts[i])), {}
    step = max(1, batch_size // k)
    for start in range(0, len(order), step):
        rows = order[start : start + step]
        batch = tokenizer([prompts[i] for i in rows], return_tensors="pt", padding=True).to(model.device)
        with expanded_weights(model):
            tokens, log_probs = _continue(model, batch, k, max_new_tokens, temperature, tokenizer.eos_token_id)
        samples = []
        for ids, logs in zip(tokens.tolist(), log_probs.tolist(), strict=True):
            length = ids.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in ids else len(ids)
            text = tokenizer.decode(ids[:length], skip_special_tokens=True)
            samples.append(Sample(text, length, math.fsum(logs[:length])))
        found.update({row: samples[n * k : (n + 1) * k] for n, row in enumerate(rows)})
    tokenizer.padding_side = side
    model.train(was_training)
    return [found[i] for i in range(len(prompts))]


def _drawn(logits: torch.Tensor) -> torch.Tensor:
    """A token for each row: where a random number falls in the sum of its probabilities (one number, not one a token)."""
    heights = logits.softmax(-1).cumsum(-1)
    falls = torch.rand(len(logits), 1, device=logits.device) * heights[:, -1:]
    return torch.searchsorted(heights, falls, right=True).clamp(max=logits.shape[-1] - 1)


def _continue(model, batch, k: int, max_new_tokens: int, temperature: float, end: int):
    """(tokens, their log-probabilities), both (rows x k, new tokens)."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    first = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
    cache, logits = first.past_key_values, first.logits[:, -1].repeat_interleave(k, 0)
    cache.batch_repeat_interleave(k)
    mask, place = mask.repeat_interleave(k, 0), positions[:, -1:].repeat_interleave(k, 0)
    done, tokens, log_probs = torch.zeros(len(mask), dtype=torch.bool, device=ids.device), [], []
    for _ in range(max_new_tokens):
        logs = logits.float().log_softmax(-1)
        token = _drawn(logs / temperature) if temperature else logs.argmax(-1, keepdim=True)
        tokens.append(token.masked_fill(done[:, None], end))
        log_probs.append(logs.gather(1, token))
        done |= token[:, 0] == end
        if done.all() or len(tokens) == max_new_tokens:
            break
        mask, place = torch.cat([mask, torch.ones_like(token)], 1), place + 1
        logits = model(
            input_ids=tokens[-1], attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True
        ).logits[:, -1]
    return torch.cat(tokens, 1), torch.cat(log_probs, 1)


def _checked(n: int, k: int, right: int = 0) -> None:
    if not 1 <= k <= n or not 0 <= right <= n:
        raise SamplingError(
            f"k={k} of n={n} samples, {right} of them right: k lies between 1 and n, and so does what is right "
            "between 0 and n; draw more samples for a larger k."
        )


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that k of n samples, `right` of which are right, hold a right one: 1 - C(n - right, k) / C(n, k).

    Chen et al. 2021, equation 1; unbiased for k <= n. Raises SamplingError where k is larger.
    """
    _checked(n, k, right)
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def best_of_share(scores: Sequence[float], right: Sequence[bool], k: int) -> float:
    """The chance that the best-scored of k samples is right. Of equal scores the earlier sample counts as better.

    The sample at place r (from 0, the best first) is the best of the k if the other k - 1 all lie behind it.
    """
    n = len(scores)
    _checked(n, k)
    ranked = [hit for _, hit in sorted(zip(scores, right, strict=True), key=lambda pair: -pair[0])]
    return sum(math.comb(n - 1 - place, k - 1) for place, hit in enumerate(ranked) if hit) / math.comb(n, k)


def votes(answers: Sequence[Hashable | None]) -> list[Hashable]:
    """The answers with the most votes, several in a tie. None, where no answer could be read, is no vote."""
    counted = Counter(answer for answer in answers if answer is not None)
    return [answer for answer, count in counted.items() if count == max(counted.values())]


def majority_share(
    answers: Sequence[Hashable | None], truth: Hashable, k: int, draws: int = 200, seed: int = 0
) -> float:
    """The chance that k of the n samples vote for `truth`, a tie being drawn by lot.

    Exact where there are no more than `draws` choices of k samples; else over that many random ones. Raises SamplingError
    where k is larger than n.
    """
    _checked(len(answers), k)
    if math.comb(len(answers), k) <= draws:
        chosen = list(combinations(range(len(answers)), k))
    else:
        rng = np.random.default_rng(seed)
        chosen = [rng.permutation(len(answers))[:k] for _ in range(draws)]
    total = 0.0
    for places in chosen:
        winners = votes([answers[place] for place in places])
        total += (truth in winners) / max(1, len(winners))
    return total / len(chosen)
