"""Scores of a classification by hand, labels as tokens, and the sentences about data that are none."""

import pytest
import torch

from shared import plots
from shared.classification import (
    bag_of_words,
    calibration_bins,
    calibration_error,
    calibration_score,
    class_f1,
    confusion,
    first_tokens,
    label_set,
    macro_f1,
)
from shared.errors import DataError
from shared.models import load_tokenizer
from shared.profile import TINY_MODEL

TRUTH, SAID = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, -1]


def record(label, prompt="Ticket: x\nMatter:"):
    return {"prompt": prompt, "completion": f" {label}"}


def test_confusion_by_hand():
    assert confusion(TRUTH, SAID, 3) == [[2, 1, 0], [0, 1, 1], [0, 0, 0]]  # -1, no label, is in no column
    assert confusion(torch.tensor([1]), torch.tensor([0]), 2) == [[0, 0], [1, 0]]


def test_f1_by_hand():
    # class 0: precision 2/2, recall 2/3; class 1: 1/2 and 1/2; class 2: 0
    assert class_f1(TRUTH, SAID, 3) == pytest.approx([0.8, 0.5, 0.0])
    assert class_f1([0, 0], [0, 0], 2) == [1.0, 0.0]  # a class that neither is there nor was said
    score = macro_f1(TRUTH, SAID, 3)
    assert score.value == pytest.approx(1.3 / 3) and score.n == 6 and score.low <= score.value <= score.high
    assert macro_f1([0, 1] * 20, [0, 1] * 20, 2).low == 1.0
    # always the same answer: accuracy 50 %, macro F1 a third
    assert macro_f1([0, 1] * 50, [0] * 100, 2).value == pytest.approx(1 / 3)


def test_calibration_by_hand():
    sure, hits = [0.95, 0.95, 0.55, 0.55, 1.0], [True, False, True, True, True]
    bins = calibration_bins(sure, hits)
    assert [n for n, _, _ in bins] == [2, 3]
    assert bins[1] == pytest.approx((3, 2.9 / 3, 2 / 3)) and bins[0] == pytest.approx((2, 0.55, 1.0))
    assert calibration_error(sure, hits) == pytest.approx((2 * 0.45 + 3 * 0.3) / 5)
    assert calibration_error([1.0] * 4, [True] * 4) == 0.0
    score = calibration_score([0.9] * 50, [True] * 40 + [False] * 10)
    assert score.value == pytest.approx(0.1) and score.low < 0.1 < score.high and not score.higher_is_better


def test_labels_and_their_first_tokens():
    labels = label_set([record("return"), record("damage"), record("return")], [record("damage")])
    assert labels == ["damage", "return"]
    tokenizer = load_tokenizer(TINY_MODEL)
    ids = first_tokens(tokenizer, labels)
    assert [tokenizer.decode([token]) for token in ids] == [" d", " r"]


@pytest.mark.parametrize(
    ("train", "heldout", "sentence"),
    [
        ([record("a"), record("a")], [record("a")], "has 1 different values in the training records"),
        ([record(f"label {i}") for i in range(51)], [], "has 51 different values"),
        ([record("a"), record("b")], [record("a"), record("c")], "held-out record 2: field completion holds 'c'"),
        ([record("a"), record(" ")], [], "training record 2: field completion holds no label"),
        ([record("a"), {"text": "no fields"}], [], "training record 2: field completion holds no label"),
        ([record("a"), record("b", prompt=[])], [], "training record 2"),
    ],
)
def test_data_that_is_no_classification_gets_a_sentence(train, heldout, sentence):
    with pytest.raises(DataError, match=sentence):
        label_set(train, heldout)


def test_labels_that_begin_alike_get_a_sentence():
    with pytest.raises(DataError, match="dark and dab begin with the same token ' d': rename one"):
        first_tokens(load_tokenizer(TINY_MODEL), ["return", "dark", "dab"])


def test_bag_of_words_learns_words_and_no_order():
    texts = ["late parcel", "my parcel is late", "the bill is wrong", "wrong bill"] * 5
    logits, parameters = bag_of_words(
        texts, [0, 0, 1, 1] * 5, ["parcel", "a bill", "nothing known", "late is", "is late"], 2
    )
    assert logits.argmax(1)[:2].tolist() == [0, 1]
    assert parameters == 2 * (7 + 1)  # late parcel my is the bill wrong, and the bias
    assert torch.equal(logits[3], logits[4])
    assert abs(float(logits[2, 0] - logits[2, 1])) < 0.1  # only the bias speaks


def test_plots_show_counts_and_bins():
    axes = plots.confusion_matrix([[5, 1], [0, 3]], ["damage", "return"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["5", "1", "0", "3"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["damage", "return"]
    axes = plots.reliability({"head": [(4, 0.5, 0.75), (6, 0.9, 1.0)]}).axes[0]
    line = axes.lines[1]
    assert line.get_label() == "head" and line.get_xydata().tolist() == [[0.5, 0.75], [0.9, 1.0]]
