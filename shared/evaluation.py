"""Generate, score, and say how sure: every score carries its n and a 95 % interval."""

import copy
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist, fmean

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from shared.data.tokens import example_texts
from shared.models.quantization import expanded_weights

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Score:
    """A metric on `n` examples with its 95 % interval. `higher_is_better` is False for perplexity."""

    name: str
    value: float
    n: int
    low: float
    high: float
    higher_is_better: bool = True

    def __str__(self) -> str:
        if self.higher_is_better:
            return f"{self.value:.1%} (95 % interval {self.low:.1%} to {self.high:.1%}, n={self.n})"
        return f"{self.value:.2f} (95 % interval {self.low:.2f} to {self.high:.2f}, n={self.n})"

    def as_dict(self) -> dict[str, object]:
        """The form in which a receipt holds it."""
        return asdict(self)


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, after Wilson (1927); unlike `p ± 1.96 σ` it is right near 0 and 1 and for small n."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n}: expected 0 <= successes <= n and n > 0")
    share = successes / n
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def share_score(name: str, hits: Sequence[bool]) -> Score:
    """The share of hits, with Wilson's interval."""
    low, high = wilson_interval(sum(hits), len(hits))
    return Score(name, sum(hits) / len(hits), len(hits), low, high)


def mean_score(name: str, values: Sequence[float], resamples: int = 2000, seed: int = 0) -> Score:
    """The mean of values between 0 and 1, with a bootstrap interval over the examples (Efron 1979)."""
    rng = random.Random(seed)
    means = sorted(fmean(rng.choices(values, k=len(values))) for _ in range(resamples))
    return Score(name, fmean(values), len(values), means[int(0.025 * resamples)], means[int(0.975 * resamples) - 1])


def clearly_better(before: Score, after: Score) -> bool:
    """True if `after` is better and the two 95 % intervals do not overlap."""
    if before.higher_is_better:
        return after.low > before.high
    return after.high < before.low


class FirstLine(StoppingCriteria):
    """Ends each answer after its first line that is not blank: nothing that is scored comes after it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int):
        texts = [*tokenizer.batch_decode([[token] for token in range(len(tokenizer))]), ""]
        self.newline = torch.tensor(["\n" in text for text in texts])
        self.visible = torch.tensor([bool(text.strip()) for text in texts])
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs) -> torch.Tensor:
        """Which rows of `input_ids` (rows, tokens) are done."""
        # A model may have more tokens than its tokenizer: the last place, blank, stands for those.
        answers = input_ids[:, self.prompt_length :].cpu().clamp(max=len(self.newline) - 1)
        begun = self.visible[answers].cumsum(-1) > 0
        return (self.newline[answers] & begun).any(-1).to(input_ids.device)


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str | list[dict[str, str]]],
    max_new_tokens: int,
    batch_size: int,
    first_line_only: bool = False,
    prefix: str = "",
    keep_end: bool = False,
    temperature: float | None = None,
) -> list[str]:
    """Greedy completions of `prompts` (strings, or messages for the chat template), in the order of the prompts.

    Batches are padded on the left: a decoder continues from the last position, which must not be padding.
    Prompts of similar length go together, so that little padding is computed. `prefix` stands before every prompt: its
    keys and values are computed once and shared. `keep_end`: special tokens stay in the completions, and the end token
    with them where the model has written it. With a `temperature` tokens are drawn from all: set the seed before.
    """
    texts = [
        prompt
        if isinstance(prompt, str)
        else tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        for prompt in prompts
    ]
    was_training, side = model.training, tokenizer.padding_side
    model.eval()
    tokenizer.padding_side = "left"
    prefix_ids = tokenizer(prefix, return_tensors="pt")["input_ids"].to(model.device) if prefix else None
    prefix_cache = model(input_ids=prefix_ids, use_cache=True).past_key_values if prefix else None
    completions: dict[int, str] = {}
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        special = isinstance(prompts[rows[0]], str)  # a chat template writes its special tokens itself
        batch = tokenizer([texts[i] for i in rows], return_tensors="pt", padding=True, add_special_tokens=special)
        ids, mask, cache = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device), None
        if prefix:
            ids = torch.cat([prefix_ids.expand(len(rows), -1), ids], dim=1)
            mask = torch.cat([torch.ones_like(prefix_ids).expand(len(rows), -1), mask], dim=1)
            cache = copy.deepcopy(prefix_cache)
            cache.batch_repeat_interleave(len(rows))
        stop = [FirstLine(tokenizer, ids.shape[1])] if first_line_only else []
        with expanded_weights(model):
            output = model.generate(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=cache,
                max_new_tokens=max_new_tokens,
                do_sample=temperature is not None,
                **({} if temperature is None else {"temperature": temperature, "top_k": 0, "top_p": 1.0}),
                pad_token_id=tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList(stop),
            )
        answers = tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=not keep_end)
        completions.update(zip(rows, answers, strict=True))
    tokenizer.padding_side = side
    model.train(was_training)
    return [completions[i] for i in range(len(texts))]


def parse_answer(text: str) -> dict[str, object] | None:
    """The JSON object on the first line that is not blank, or None. Strict: no text around it, no repeated key."""

    def no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    line = text.strip().split("\n", 1)[0]
    try:
        answer = json.loads(line, object_pairs_hook=no_repeats)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def field_f1(predicted: dict[str, object] | None, expected: dict[str, object]) -> float:
    """F1 over (key, value) pairs: the harmonic mean of precision and recall. 3 and "3" differ, and so do 1 and True."""
    if predicted is None:
        return 0.0
    shared_pairs = sum(
        key in predicted and type(predicted[key]) is type(value) and predicted[key] == value
        for key, value in expected.items()
    )
    return 2 * shared_pairs / (len(predicted) + len(expected)) if predicted or expected else 1.0


def score_json(answers: Sequence[str], expected: Sequence[str]) -> dict[str, Score]:
    """Valid JSON, exact match of the whole object and field F1 of `answers` against the JSON texts `expected`."""
    pairs = [(parse_answer(answer), json.loads(truth)) for answer, truth in zip(answers, expected, strict=True)]
    f1 = [field_f1(predicted, truth) for predicted, truth in pairs]
    return {
        "exact match": share_score("exact match", [value == 1.0 for value in f1]),
        "valid JSON": share_score("valid JSON", [predicted is not None for predicted, _ in pairs]),
        "field F1": mean_score("field F1", f1),
    }


@torch.inference_mode()
def perplexity(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[dict], max_length: int
) -> Score:
    """Perplexity of the completions (of the whole text where there is no prompt), the end token included.

    The interval is a bootstrap over the examples. Texts longer than `max_length` tokens are cut, as in training.
    """
    was_training = model.training
    model.eval()
    losses, counts = [], []
    for example in examples:
        prompt, whole = example_texts(tokenizer, example)
        skip = len(tokenizer(prompt)["input_ids"]) if prompt else 1  # nothing predicts the first token
        ids = [*tokenizer(whole)["input_ids"], tokenizer.eos_token_id][:max_length]
        if len(ids) <= skip:
            continue
        tokens = torch.tensor([ids], device=model.device)
        log_probs = model(input_ids=tokens).logits[0, skip - 1 : -1].float().log_softmax(-1)
        losses.append(-log_probs.gather(1, tokens[0, skip:, None]).sum().item())
        counts.append(len(ids) - skip)
    model.train(was_training)
    if not losses:
        raise ValueError(f"no example leaves a token to predict within {max_length} tokens")
    return perplexity_score(list(zip(losses, counts, strict=True)))


def perplexity_score(losses: Sequence[tuple[float, int]]) -> Score:
    """Perplexity of examples of which (summed loss in nats, tokens) are given, with a bootstrap interval over them."""

    def value(rows: Sequence[tuple[float, int]]) -> float:
        return math.exp(min(50.0, sum(loss for loss, _ in rows) / sum(tokens for _, tokens in rows)))

    rng = random.Random(0)
    drawn = sorted(value(rng.choices(losses, k=len(losses))) for _ in range(1000))
    return Score("perplexity", value(losses), len(losses), drawn[25], drawn[974], higher_is_better=False)


def is_json_task(examples: Sequence[dict]) -> bool:
    """True if every completion is a JSON object."""
    return all(isinstance(e.get("completion"), str) and parse_answer(e["completion"]) is not None for e in examples)


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[dict],
    batch_size: int,
    max_length: int = 1024,
    prefix: str = "",
) -> dict[str, Score]:
    """The scores of `model` on held-out `examples`, the headline first.

    Completions that are JSON objects: exact match, valid JSON and field F1 of greedy answers. Anything else:
    perplexity. `prefix` goes before every prompt (an instruction and an example, for a model that is not tuned).
    """
    if not is_json_task(examples):
        return {"perplexity": perplexity(model, tokenizer, examples, max_length)}
    expected = [example["completion"] for example in examples]
    room = max(len(ids) for ids in tokenizer(expected)["input_ids"]) + 8
    prompts = [example["prompt"] for example in examples]
    answers = generate(model, tokenizer, prompts, room, batch_size, first_line_only=True, prefix=prefix)
    return score_json(answers, expected)
