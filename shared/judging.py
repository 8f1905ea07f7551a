"""Judging support answers by stated rules, and what preference tuning is measured by.

The judge is a list of rules, not a model: it always says the same, and why. Of two answers the one that keeps more rules
wins; as many is a tie, and counts half.
"""

from collections.abc import Sequence
from statistics import fmean

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from shared.evaluation import Score, mean_score, share_score
from shared.rubrics import chat_facts, copied_share, first_line, foreign_numbers, says, words

RULES = ("polite", "right", "nothing foreign", "own words", "concise")


def kept_rules(answer: str, record: dict) -> dict[str, bool]:
    """Which of RULES `answer` keeps. `record` has facts, others, prompt, and the reference as `chosen`.

    polite: it is sorry. right: it names customer, article and fault, and grants the wish for the order or asks for the
    number. nothing foreign: no number or name that is not the case's. own words: at most half of its runs of four words
    stand in the chat. concise: at most 1.5 times the reference's words.
    """
    line, facts = first_line(answer), record["facts"]
    done = chat_facts(line, facts)
    polite = done.pop("polite")
    foreign = foreign_numbers(line, facts) or any(says(line, other) for other in record["others"])
    return {
        "polite": polite,
        "right": all(done.values()),
        "nothing foreign": bool(line) and not foreign,
        "own words": bool(line) and copied_share(line, record["prompt"]) <= 0.5,
        "concise": 0 < len(words(line)) <= 1.5 * len(words(record["chosen"])),
    }


def is_good(answer: str, record: dict) -> bool:
    """True if `answer` keeps all rules."""
    return all(kept_rules(answer, record).values())


def score_answers(answers: Sequence[str], records: Sequence[dict]) -> dict[str, Score]:
    """Good answers (the headline: all rules kept), then the share that keeps each rule."""
    kept = [kept_rules(answer, record) for answer, record in zip(answers, records, strict=True)]
    scores = {"good answers": share_score("good answers", [all(rules.values()) for rules in kept])}
    return scores | {rule: share_score(rule, [rules[rule] for rules in kept]) for rule in RULES}


def outcomes(answers: Sequence[str], others: Sequence[str], records: Sequence[dict]) -> list[float]:
    """For each record 1 where `answers` keeps more rules than `others`, 0 where it keeps fewer, 0.5 for a tie."""
    found = []
    for answer, other, record in zip(answers, others, records, strict=True):
        mine, theirs = (sum(kept_rules(text, record).values()) for text in (answer, other))
        found.append(1.0 if mine > theirs else 0.0 if mine < theirs else 0.5)
    return found


def win_rate(answers: Sequence[str], others: Sequence[str], records: Sequence[dict]) -> Score:
    """How often `answers` beats `others`, ties counted half, with a bootstrap interval over the records."""
    return mean_score("win rate", outcomes(answers, others, records))


def mean_words(answers: Sequence[str]) -> float:
    """Words in the first line of an answer, on average."""
    return fmean(len(words(first_line(answer))) for answer in answers)


@torch.inference_mode()
def answer_log_probs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    answers: Sequence[str],
    batch_size: int = 32,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probability in nats, tokens) of each answer behind its prompt, the end token included; two tensors on the CPU."""
    was_training = model.training
    model.eval()
    rows = []
    for prompt, answer in zip(prompts, answers, strict=True):
        skip, ids = len(tokenizer(prompt)["input_ids"]), tokenizer(prompt + answer)["input_ids"]
        rows.append((skip, [*ids, tokenizer.eos_token_id]))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][1]))  # rows of similar length go together
    found = torch.zeros(len(rows))
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        width = max(len(rows[i][1]) for i in part)
        ids = torch.tensor([rows[i][1] + [tokenizer.pad_token_id] * (width - len(rows[i][1])) for i in part])
        ends = torch.tensor([len(rows[i][1]) for i in part])
        begins = torch.tensor([rows[i][0] for i in part])
        places = torch.arange(width)
        mask = (places < ends[:, None]).long()
        trained = ((places >= begins[:, None]) & (places < ends[:, None]))[:, 1:]
        ids, mask = ids.to(model.device), mask.to(model.device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        kept = trained.to(model.device)
        losses = torch.zeros(kept.shape, device=model.device)
        losses[kept] = torch.nn.functional.cross_entropy(logits[kept].float(), ids[:, 1:][kept], reduction="none")
        found[part] = -losses.sum(1).cpu()
    model.train(was_training)
    return found, torch.tensor([len(ids) - skip for skip, ids in rows])


def pair_log_probs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[dict], batch_size: int = 32
) -> dict[str, torch.Tensor]:
    """`chosen` and `rejected`: the log-probability of each side; `chosen tokens` and `rejected tokens`: their lengths."""
    sides = [pair[side] for side in ("chosen", "rejected") for pair in pairs]
    log_probs, tokens = answer_log_probs(model, tokenizer, [pair["prompt"] for pair in pairs] * 2, sides, batch_size)
    n = len(pairs)
    found = {"chosen": log_probs[:n], "rejected": log_probs[n:]}
    return found | {"chosen tokens": tokens[:n], "rejected tokens": tokens[n:]}


def preference_accuracy(found: dict[str, torch.Tensor]) -> Score:
    """How often the chosen answer has the higher log-probability per token: of pairs as `pair_log_probs` gives them."""
    chosen, rejected = (found[side] / found[f"{side} tokens"] for side in ("chosen", "rejected"))
    return share_score("preference accuracy", (chosen > rejected).tolist())


def margins(policy: dict[str, torch.Tensor], reference: dict[str, torch.Tensor], beta: float) -> torch.Tensor:
    """The implicit reward of the chosen answer less that of the rejected one, for each pair: (pairs,)."""
    return beta * ((policy["chosen"] - reference["chosen"]) - (policy["rejected"] - reference["rejected"]))
