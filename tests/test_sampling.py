"""Samples and what they are worth, against counting by hand; GSM8K's rows as problems."""

import itertools
import math
from statistics import fmean

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from shared import sampling
from shared.data import gsm8k
from shared.errors import CourseError, DataError
from shared.evaluation import generate
from shared.models import load_tokenizer
from shared.profile import TINY_MODEL
from shared.sampling import Sample, SamplingError, best_of_share, draw, majority_share, pass_at_k, votes

PROMPTS = ["Q: What is 1 + 2?\nA:", "Hello", "Q: What is 745 + 550?\nA:"]
ROW = {
    "question": "Natalia sold clips to 48 friends, and half as many later. How many?",
    "answer": "She sold 48/2 = <<48/2=24>>24 later.\nIn all 48+24 = <<48+24=72>>72.\n#### 72",
}


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(str(TINY_MODEL))


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.4, **ids, **shape)).eval()


def texts(found: list[list[Sample]]) -> list[list[str]]:
    return [[sample.text for sample in samples] for samples in found]


def test_at_temperature_0_it_is_greedy_decoding(model, tokenizer):
    greedy = generate(model, tokenizer, PROMPTS, 12, batch_size=3)
    for batch_size in (1, 2, 6):
        assert texts(draw(model, tokenizer, PROMPTS, 2, 12, batch_size, 0.0)) == [[text, text] for text in greedy]


def test_a_sample_has_its_own_log_probability(model, tokenizer):
    torch.manual_seed(1)
    samples = draw(model, tokenizer, PROMPTS[2:], 4, 8, 4, temperature=1.5)[0]
    assert len({sample.text for sample in samples}) > 1
    prompt = tokenizer(PROMPTS[2])["input_ids"]
    for sample in samples:
        ids = tokenizer(sample.text)["input_ids"]
        if len(ids) != sample.tokens or tokenizer.decode(ids) != sample.text:
            continue  # other tokens for the same text, or an end token
        logs = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
        by_hand = sum(logs[len(prompt) - 1 + i, token].item() for i, token in enumerate(ids))
        assert sample.log_prob == pytest.approx(by_hand, abs=1e-3)
        assert sample.mean_log_prob == pytest.approx(by_hand / len(ids), abs=1e-3)
        break
    else:
        pytest.fail("no sample could be compared")


def test_what_follows_the_end_token_does_not_count(tokenizer):
    end = tokenizer.eos_token_id

    class Ends(torch.nn.Module):
        """Says token 5, then the end, then 5 again."""

        device, training = torch.device("cpu"), False

        def forward(self, input_ids, past_key_values=None, **kwargs):
            class Cache:
                def batch_repeat_interleave(self, k):
                    pass

            wanted = torch.where(input_ids == 5, end, 5)
            logits = torch.nn.functional.one_hot(wanted, len(tokenizer)) * 10.0
            return type("Out", (), {"logits": logits, "past_key_values": Cache()})

    found = draw(Ends(), tokenizer, ["a", "b"], 2, 9, 4, 0.0)
    assert {sample.tokens for samples in found for sample in samples} == {2}
    assert {sample.text for samples in found for sample in samples} == {tokenizer.decode([5])}


def test_drawing_follows_the_probabilities():
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, math.log(3), -math.inf]]).expand(4000, 3)
    counts = torch.bincount(sampling._drawn(logits)[:, 0], minlength=3) / 4000
    assert counts[2] == 0 and counts[1].item() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("options", [{"k": 0}, {"max_new_tokens": 0}, {"temperature": -1.0}, {"prompts": ["a", ""]}])
def test_nothing_to_draw_gets_a_sentence(model, tokenizer, options):
    options = {"prompts": PROMPTS, "k": 1, "max_new_tokens": 4, "batch_size": 2} | options
    with pytest.raises(SamplingError, match="take 1 or more of each"):
        draw(model, tokenizer, **options)


def test_pass_at_k_by_counting_all_choices():
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)  # of 10 pairs, 3 hold wrong ones alone
    for n, right in itertools.product((4, 6), range(5)):
        hits = [True] * right + [False] * (n - right)
        for k in range(1, n + 1):
            counted = fmean(any(chosen) for chosen in itertools.combinations(hits, k))
            assert pass_at_k(n, right, k) == pytest.approx(counted)


def test_pass_at_k_is_unbiased():
    n, k, p = 8, 3, 0.2
    chance = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    assert sum(w * pass_at_k(n, c, k) for c, w in enumerate(chance)) == pytest.approx(1 - 0.8**3)


def test_best_of_share_by_counting_all_choices():
    scores, right = [0.3, -1.0, 2.0, 0.5, -2.0], [True, True, False, True, False]
    for k in range(1, 6):
        chosen = itertools.combinations(range(5), k)
        counted = fmean(right[max(places, key=lambda place: scores[place])] for places in chosen)
        assert best_of_share(scores, right, k) == pytest.approx(counted)
        assert best_of_share([float(hit) for hit in right], right, k) == pytest.approx(pass_at_k(5, 3, k))


def test_votes_and_ties():
    assert votes([85, 75, 85]) == [85]
    assert sorted(votes([85, 75, None, None, None])) == [75, 85]  # None is no vote
    assert votes([None]) == []
    assert majority_share([85, 75, 85], 85, 3) == 1.0
    assert majority_share([85, 75], 85, 2) == 0.5  # a tie, by lot
    assert majority_share([None, None], 85, 2) == 0.0


def test_majority_share_by_counting_all_choices():
    answers, truth = [7, 7, 5, None, 3, 7], 7
    for k in (1, 2, 3):
        found = []
        for chosen in itertools.combinations(answers, k):
            winners = votes(chosen)
            found.append((truth in winners) / max(1, len(winners)))
        assert majority_share(answers, truth, k) == pytest.approx(fmean(found), abs=1e-12)
        assert majority_share(answers * 3, truth, 6, draws=3000) == pytest.approx(
            majority_share(answers * 3, truth, 6, draws=20_000), abs=0.03
        )  # 18,564 choices: some of them, and all


@pytest.mark.parametrize(
    "call",
    [
        lambda: pass_at_k(4, 2, 5),
        lambda: pass_at_k(4, 5, 2),
        lambda: pass_at_k(4, 2, 0),
        lambda: best_of_share([1.0], [True], 2),
        lambda: majority_share([1], 1, 2),
    ],
)
def test_more_than_there_is_gets_a_sentence(call):
    with pytest.raises(CourseError, match="draw more samples"):
        call()


def test_a_row_of_gsm8k_is_a_problem():
    found = gsm8k.problem_of(ROW, 1)
    assert found["answer"] == 72 and found["prompt"].startswith("Q: Natalia") and found["prompt"].endswith("\nA:")
    assert found["steps"] == ["She sold 48/2 = 24 later.", "In all 48+24 = 72."]
    assert gsm8k.problem_of(ROW | {"answer": "So 1,200.\n#### 1,200"}, 1)["answer"] == 1200


@pytest.mark.parametrize("row", [{}, {"question": "How?"}, ROW | {"answer": "72"}, ROW | {"answer": "Why.\n#### many"}])
def test_a_row_without_solution_gets_a_sentence(row):
    with pytest.raises(DataError, match="row 7: expected 'question'"):
        gsm8k.problem_of(row, 7)


def test_gsm8k_is_read_at_its_revision(monkeypatch):
    asked = []

    def load(name, config, revision):
        asked.append((name, config, revision))
        return {"train": [ROW] * 3, "test": [ROW]}

    monkeypatch.setattr("datasets.load_dataset", load)
    examples = gsm8k.load_gsm8k()
    assert asked == [("openai/gsm8k", "main", gsm8k.REVISION)] and len(gsm8k.REVISION) == 40
    assert (len(examples.train), len(examples.heldout), len(examples.sha256)) == (3, 1, 64)


def test_without_the_hub_there_is_a_sentence(monkeypatch):
    def load(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("datasets.load_dataset", load)
    with pytest.raises(DataError, match=r"no route to host.*connect to the Hub once"):
        gsm8k.load_gsm8k()
