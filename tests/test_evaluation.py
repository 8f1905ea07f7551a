"""Scores against hand-computed values; generation in batches against one at a time."""

import math

import pytest
import torch

from shared import evaluation
from shared.evaluation import Score, clearly_better, field_f1, parse_answer, score_json, wilson_interval
from shared.models import load_model, load_tokenizer
from shared.profile import TINY_MODEL


@pytest.fixture(scope="module")
def tiny():
    return load_model(TINY_MODEL, dtype=torch.float32).eval(), load_tokenizer(TINY_MODEL)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # by hand: centre (p + z²/2n) / (1 + z²/n), half-width z/(1 + z²/n) · sqrt(p(1-p)/n + z²/4n²), z = 1.959964
    [(0, 100, 0.0, 0.0370), (50, 100, 0.4038, 0.5962), (93, 100, 0.8625, 0.9657), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval(hits, n, low, high):
    assert wilson_interval(hits, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_interval_refuses_nonsense():
    for hits, n in ((1, 0), (3, 2), (-1, 5)):
        with pytest.raises(ValueError, match="successes"):
            wilson_interval(hits, n)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (' {"a": 1}', {"a": 1}),
        ('\n\n{"a": 1}\nmore', {"a": 1}),
        ('{"a": 1} thanks', None),
        ('{"a": 1, "a": 2}', None),
        ("[1]", None),
        ("", None),
        ("[" * 5000, None),
    ],
)
def test_parse_answer(text, expected):
    assert parse_answer(text) == expected


def test_field_f1_by_hand():
    truth = {"a": 1, "b": "x", "c": 2}
    assert field_f1(truth, truth) == 1.0
    assert field_f1(None, truth) == 0.0
    assert field_f1({"a": 1, "b": "y"}, truth) == pytest.approx(2 * 1 / (2 + 3))
    assert field_f1({"a": "1", "b": "x", "c": True}, {"a": 1, "b": "x", "c": 1}) == pytest.approx(2 / 6)


def test_score_json_counts_each_level():
    truth = ['{"a": 1, "b": 2}'] * 4
    scores = score_json(['{"b": 2, "a": 1}', '{"a": 1}', "no", '{"a": 1, "b": 2, "c": 3}'], truth)
    assert scores["exact match"].value == 0.25
    assert scores["valid JSON"].value == 0.75
    assert scores["field F1"].value == pytest.approx((1 + 2 / 3 + 0 + 4 / 5) / 4)


def test_clearly_better_needs_intervals_apart():
    low, high = Score("m", 0.2, 100, 0.1, 0.3), Score("m", 0.8, 100, 0.31, 0.9)
    assert clearly_better(low, high) and not clearly_better(high, low)
    assert not clearly_better(low, Score("m", 0.8, 100, 0.29, 0.9))
    p_low, p_high = Score("p", 2, 9, 1, 3, False), Score("p", 5, 9, 4, 6, False)
    assert clearly_better(p_high, p_low) and not clearly_better(p_low, p_high)


def test_batches_padded_on_the_left_answer_like_single_prompts(tiny):
    model, tokenizer = tiny
    prompts = [
        "Work out 26 + 37.\nSteps:",
        "From Ada Lane: Sell me three red lamps.\nRecord:",
        "lamp pen cup oven\nAgain:",
    ]
    together = evaluation.generate(model, tokenizer, prompts, max_new_tokens=40, batch_size=3)
    single = [evaluation.generate(model, tokenizer, [p], max_new_tokens=40, batch_size=1)[0] for p in prompts]
    assert together == single
    assert "63" in together[0] and "Ada Lane" in together[1]
    assert tokenizer.padding_side == "right"


def test_a_shared_prefix_changes_nothing(tiny):
    model, tokenizer = tiny
    prefix = "lamp drako pen\nAgain: lamp drako pen\n\n"
    prompts = ["sofa biru\nAgain:", "From Ada Lane: Sell me three red lamps, please.\nRecord:", "7 8\nAgain:"]
    shared = evaluation.generate(model, tokenizer, prompts, max_new_tokens=20, batch_size=2, prefix=prefix)
    whole = evaluation.generate(
        model, tokenizer, [prefix + prompt for prompt in prompts], max_new_tokens=20, batch_size=2
    )
    assert shared == whole


def test_first_line_only_ends_each_answer_after_its_first_line(tiny):
    model, tokenizer = tiny
    prompt = "From Ada Lane: Sell me three red lamps.\nForm:"
    stop = evaluation.FirstLine(tokenizer, prompt_length=0)
    rows = [tokenizer(text)["input_ids"] for text in ("\n\n a", "b\nc d", "efgh")]
    width = min(map(len, rows))
    assert stop(torch.tensor([row[:width] for row in rows]), None).tolist() == [False, True, False]
    answers = evaluation.generate(model, tokenizer, [prompt] * 2, max_new_tokens=40, batch_size=2, first_line_only=True)
    assert all(answer.strip() and "\n" not in answer.strip() for answer in answers)


def test_perplexity_is_exp_of_the_mean_loss(tiny):
    model, tokenizer = tiny
    text = "Work out 26 + 37."
    tokens = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
    with torch.inference_mode():
        loss = model(input_ids=tokens, labels=tokens).loss.item()
    score = evaluation.perplexity(model, tokenizer, [{"text": text}] * 3, max_length=64)
    assert score.value == pytest.approx(math.exp(loss), rel=1e-4)
    assert not score.higher_is_better
    with pytest.raises(ValueError, match="no example"):
        evaluation.perplexity(model, tokenizer, [{"text": text}], max_length=1)


def test_example_texts_of_the_three_formats(tiny):
    _, tokenizer = tiny
    assert evaluation.example_texts(tokenizer, {"text": "abc"}) == ("", "abc")
    assert evaluation.example_texts(tokenizer, {"prompt": "a", "completion": " b"}) == ("a", "a b")
    chat = {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]}
    assert evaluation.example_texts(tokenizer, chat) == ("User: Q\nAssistant:", "User: Q\nAssistant: A")


def test_evaluate_chooses_the_metric_by_the_data(tiny):
    model, tokenizer = tiny
    orders = [{"prompt": "Message: x\nJSON:", "completion": ' {"a": 1}'}]
    assert list(evaluation.evaluate(model, tokenizer, orders, 1)) == ["exact match", "valid JSON", "field F1"]
    assert list(evaluation.evaluate(model, tokenizer, [{"text": "We have a lamp."}], 1)) == ["perplexity"]


def test_tokens_that_the_tokenizer_does_not_have_end_no_answer():
    tokenizer = load_tokenizer(TINY_MODEL)
    newline = tokenizer("a\n")["input_ids"]
    stop = evaluation.FirstLine(tokenizer, prompt_length=0)
    beyond = len(tokenizer) + 63_000  # Falcon-7B's vocabulary under a smaller tokenizer
    rows = torch.tensor([[beyond] * len(newline), newline])
    assert stop(rows, None).tolist() == [False, True]
