"""The judge's rules, and log-probabilities and margins, by hand."""

import math

import pytest
import torch
from transformers import set_seed

from shared.evaluation import generate
from shared.judging import (
    RULES,
    answer_log_probs,
    is_good,
    kept_rules,
    margins,
    mean_words,
    outcomes,
    pair_log_probs,
    preference_accuracy,
    score_answers,
    win_rate,
)
from shared.models import load_model, load_tokenizer
from shared.profile import TINY_MODEL

RECORD = {
    "prompt": "Customer: My silk kettle is leaking. I want my money back. My order was 1003. I am Alice Stone.\nShop:",
    "chosen": " Dear Alice Stone, we are sorry that your silk kettle is leaking. You get your money back for order 1003.",
    "rejected": " No.",
    "facts": {"name": "Alice Stone", "item": "silk kettle", "problem": "leaking", "wish": "money back", "order": 1003},
    "others": ["Anna"],
}
GOOD = RECORD["chosen"]
EMPTY = " Thank you very much for writing to us. We read every single letter with great care."


@pytest.mark.parametrize(
    ("answer", "broken"),
    [
        (GOOD, set()),
        (GOOD + "\nCustomer: no", set()),  # the first line counts
        (GOOD.replace("we are sorry that", "it is your fault that"), {"polite"}),
        (GOOD.replace("1003", "1004"), {"right", "nothing foreign"}),
        (GOOD.replace("You get your money back", "We will send a new one"), {"right"}),
        (GOOD.replace("Alice Stone", "customer"), {"right"}),
        (GOOD + " Anna.", {"nothing foreign"}),
        (GOOD + EMPTY, {"concise"}),
        (RECORD["prompt"].split("\n")[0], {"polite", "own words"}),
        ("", set(RULES)),
    ],
)
def test_rules(answer, broken):
    assert {rule for rule, kept in kept_rules(answer, RECORD).items() if not kept} == broken
    assert is_good(answer, RECORD) == (not broken)


def test_scores_by_hand():
    scores = score_answers([GOOD, "", GOOD + EMPTY, GOOD], [RECORD] * 4)
    assert scores["good answers"].value == 0.5 and scores["polite"].value == 0.75
    assert list(scores) == ["good answers", *RULES]
    assert mean_words([GOOD, "one two"]) == (20 + 2) / 2


def test_win_rate_counts_ties_half():
    assert outcomes([GOOD, "", GOOD], [GOOD, GOOD, ""], [RECORD] * 3) == [0.5, 0.0, 1.0]
    score = win_rate([GOOD] * 4, [GOOD, GOOD, "", ""], [RECORD] * 4)
    assert score.value == 0.75 and score.n == 4


@pytest.fixture(scope="module")
def model():
    return load_model(TINY_MODEL, dtype=torch.float32), load_tokenizer(TINY_MODEL)


def test_log_probability_of_an_answer_is_the_sum_over_its_tokens(model):
    model, tokenizer = model
    prompts, answers = ["Customer: hello\nShop:", "A:"], [" Dear Ada.", " b c d e f"]
    found, tokens = answer_log_probs(model, tokenizer, prompts, answers, batch_size=2)
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        skip = len(tokenizer(prompt)["input_ids"])
        ids = [*tokenizer(prompt + answer)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(log_p[place - 1, ids[place]].item() for place in range(skip, len(ids)))
        assert tokens[i] == len(ids) - skip and found[i].item() == pytest.approx(expected, abs=1e-3)
    pairs = [{"prompt": p, "chosen": a, "rejected": " no"} for p, a in zip(prompts, answers, strict=True)]
    sides = pair_log_probs(model, tokenizer, pairs)
    assert torch.allclose(sides["chosen"], found, atol=1e-3) and sides["rejected tokens"].tolist() == [2, 2]


def test_accuracy_is_per_token_and_margins_are_relative_to_the_reference():
    policy = {
        "chosen": torch.tensor([-10.0, -4.0]),
        "rejected": torch.tensor([-6.0, -3.0]),
        "chosen tokens": torch.tensor([10, 2]),
        "rejected tokens": torch.tensor([2, 2]),
    }
    assert preference_accuracy(policy).value == 0.5  # -1 against -3, and -2 against -1.5
    reference = {"chosen": torch.tensor([-12.0, -4.0]), "rejected": torch.tensor([-5.0, -3.0])}
    assert margins(policy, reference, 0.5).tolist() == [1.5, 0.0]
    assert math.isclose(margins(reference, reference, 0.1).abs().max().item(), 0.0)


def test_answers_are_drawn_where_a_temperature_is_given(model):
    model, tokenizer = model

    def drawn(seed, temperature):
        set_seed(seed)
        return generate(model, tokenizer, ["Customer: hello\nShop:"] * 3, 12, 3, temperature=temperature)

    assert drawn(1, 1.0) == drawn(1, 1.0) != drawn(2, 1.0)
    assert len(set(drawn(1, 1.0))) > 1
    assert drawn(1, None) == drawn(2, None) == drawn(3, 1e-4)  # nearly no temperature is nearly greedy
