"""Classification: labels as tokens, confusion, F1, calibration, and the linear model that a language model has to beat."""

import random
import re
from collections import Counter
from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from shared.errors import DataError
from shared.evaluation import Score


def label_set(train: Sequence[dict], heldout: Sequence[dict], most: int = 50) -> list[str]:
    """The labels, the completions of `train` without spaces around them, in the order of the alphabet.

    Raises DataError where the examples are not those of a classification.
    """
    for part, examples in (("training", train), ("held-out", heldout)):
        for number, example in enumerate(examples, 1):
            prompt, completion = example.get("prompt"), example.get("completion")
            if not isinstance(prompt, str) or not isinstance(completion, str) or not completion.strip():
                raise DataError(
                    f"{part} record {number}: field completion holds no label; classification takes records of prompt "
                    "and completion, both text, and the completion is the label."
                )
    labels = sorted({example["completion"].strip() for example in train})
    if not 2 <= len(labels) <= most:
        raise DataError(
            f"The field completion has {len(labels)} different values in the training records: for classification it has "
            f"to be one of 2 to {most} labels."
        )
    for number, example in enumerate(heldout, 1):
        if (label := example["completion"].strip()) not in labels:
            raise DataError(
                f"held-out record {number}: field completion holds {label!r}, which no training record has: correct it, or "
                "add training records of that label."
            )
    return labels


def first_tokens(tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]) -> list[int]:
    """The first token of each label with a space before it; raises DataError where two labels begin with the same one."""
    ids = [tokenizer(f" {label}", add_special_tokens=False)["input_ids"][0] for label in labels]
    for label, token in zip(labels, ids, strict=True):
        same = [other for other, one in zip(labels, ids, strict=True) if one == token]
        if len(same) > 1:
            raise DataError(
                f"The labels {' and '.join(same)} begin with the same token {tokenizer.decode([token])!r}: rename one, so "
                f"that one token tells them apart (first seen at label {label!r})."
            )
    return ids


def confusion(truth: Sequence[int], predicted: Sequence[int], classes: int) -> list[list[int]]:
    """How many of each class (rows) were taken for which (columns); an answer outside of 0..classes-1 is in no column."""
    counts = Counter(zip(map(int, truth), map(int, predicted), strict=True))
    return [[counts[row, column] for column in range(classes)] for row in range(classes)]


def class_f1(truth: Sequence[int], predicted: Sequence[int], classes: int) -> list[float]:
    """F1 of each class: 2 hits / (how often it is true + how often it was said); 0 where it is neither."""
    truth, predicted = list(map(int, truth)), list(map(int, predicted))
    said, true = Counter(predicted), Counter(truth)
    hits = Counter(t for t, p in zip(truth, predicted, strict=True) if t == p)
    return [2 * hits[c] / (said[c] + true[c]) if said[c] + true[c] else 0.0 for c in range(classes)]


def macro_f1(truth: Sequence[int], predicted: Sequence[int], classes: int, resamples: int = 1000) -> Score:
    """The mean of the classes' F1, with a bootstrap interval over the examples (Efron 1979)."""
    pairs = list(zip(map(int, truth), map(int, predicted), strict=True))

    def value(drawn: Sequence[tuple[int, int]]) -> float:
        return sum(class_f1(*zip(*drawn, strict=True), classes)) / classes

    return _bootstrap("macro F1", pairs, value, resamples)


def calibration_bins(
    confidence: Sequence[float], hits: Sequence[bool], bins: int = 10
) -> list[tuple[int, float, float]]:
    """(number, mean confidence, share of hits) of each bin that is not empty; bins are of equal width from 0 to 1."""
    groups: dict[int, list[tuple[float, bool]]] = {}
    for sure, hit in zip(confidence, hits, strict=True):
        groups.setdefault(min(int(sure * bins), bins - 1), []).append((float(sure), bool(hit)))
    return [
        (len(group), sum(sure for sure, _ in group) / len(group), sum(hit for _, hit in group) / len(group))
        for _, group in sorted(groups.items())
    ]


def calibration_error(confidence: Sequence[float], hits: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error (Naeini 2015): the mean distance of confidence and share of hits, by bin size."""
    found = calibration_bins(confidence, hits, bins)
    return sum(n * abs(sure - share) for n, sure, share in found) / len(confidence)


def calibration_score(confidence: Sequence[float], hits: Sequence[bool], resamples: int = 1000) -> Score:
    """The expected calibration error with a bootstrap interval; of few examples it comes out too large, never too small.

    The interval says how much it scatters, and is too high for the same reason.
    """
    pairs = [(float(sure), bool(hit)) for sure, hit in zip(confidence, hits, strict=True)]

    def value(drawn: Sequence[tuple[float, bool]]) -> float:
        return calibration_error(*zip(*drawn, strict=True))

    return _bootstrap("calibration error", pairs, value, resamples, higher_is_better=False)


def _bootstrap(name: str, rows: list, value, resamples: int, higher_is_better: bool = True) -> Score:
    rng = random.Random(0)
    drawn = sorted(value(rng.choices(rows, k=len(rows))) for _ in range(resamples))
    low, high = drawn[int(0.025 * resamples)], drawn[int(0.975 * resamples) - 1]
    return Score(name, value(rows), len(rows), low, high, higher_is_better)


def bag_of_words(
    texts: Sequence[str], truth: Sequence[int], asked: Sequence[str], classes: int, decay: float = 1e-3
) -> tuple[torch.Tensor, int]:
    """Logits (asked, classes) of a logistic regression on which words a text has, trained on `texts`; its parameters.

    Words of `asked` that are not in `texts` do not count. `decay` is the weight of the squared weights in the loss.
    """
    words = [set(re.findall(r"[a-z']+", text.lower())) for text in texts]
    places = {word: place for place, word in enumerate(sorted(set().union(*words)))}

    def present(sets: Sequence[set[str]]) -> torch.Tensor:
        found = torch.zeros(len(sets), len(places) + 1)
        found[:, -1] = 1.0  # the bias
        for row, known in enumerate(sets):
            found[row, [places[word] for word in known if word in places]] = 1.0
        return found

    x, y = present(words), torch.as_tensor(truth)
    weights = torch.zeros(x.shape[1], classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        total = torch.nn.functional.cross_entropy(x @ weights, y) + decay * weights.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return present([set(re.findall(r"[a-z']+", text.lower())) for text in asked]) @ weights.detach(), weights.numel()
