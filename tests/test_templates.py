"""The marked templates write what the unmarked ones write, and data without a trained token is refused."""

import pytest
import torch
from datasets import Dataset

from shared.data.templates import CHATML, PLAIN, PROBE, check_labels, check_template, use_template
from shared.data.tokens import PLAIN_TEMPLATE
from shared.errors import DataError
from shared.models import load_tokenizer
from shared.profile import TINY_MODEL


@pytest.fixture
def tokenizer():
    return load_tokenizer(TINY_MODEL)


@pytest.fixture
def chatml(tokenizer):
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]})
    return use_template(tokenizer)


def marked(tokenizer) -> str:
    made = tokenizer.apply_chat_template(PROBE, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    pieces = zip(tokenizer.convert_ids_to_tokens(made["input_ids"]), made["assistant_masks"], strict=True)
    return "".join(piece for piece, mask in pieces if mask).replace("Ġ", " ")


def test_plain_is_the_template_of_the_course_with_marks(tokenizer):
    assert use_template(tokenizer).chat_template == PLAIN
    chat = [{"role": "system", "content": "Be short."}, *PROBE]
    for turns, prompt in ((chat, False), (chat[:2], True)):
        options = {"tokenize": False, "add_generation_prompt": prompt}
        assert tokenizer.apply_chat_template(turns, **options) == tokenizer.apply_chat_template(
            turns, chat_template=PLAIN_TEMPLATE, **options
        )
    assert marked(tokenizer) == " It is.<|endoftext|> No.<|endoftext|>"


def test_chatml_where_the_tokenizer_has_its_tokens(chatml):
    assert chatml.chat_template == CHATML
    text = chatml.apply_chat_template(PROBE[:2], tokenize=False)
    assert text == "<|im_start|>user\nIs it red?<|im_end|>\n<|im_start|>assistant\nIt is.<|im_end|>\n"
    asked = chatml.apply_chat_template(PROBE[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<|im_start|>user\nIs it red?<|im_end|>\n<|im_start|>assistant\n"
    assert marked(chatml) == "It is.<|im_end|>No.<|im_end|>"
    check_template(chatml)


def test_a_template_that_cannot_be_trained_is_refused(tokenizer):
    with pytest.raises(
        DataError, match=r"no \{% generation %\} marks, so no label is left to train; set one with `use_t"
    ):
        check_template(tokenizer)
    check_template(tokenizer, marks=False)
    tokenizer.chat_template = None
    for marks in (True, False):
        with pytest.raises(DataError, match=r"field messages .* no chat template; set one with `use_template"):
            check_template(tokenizer, marks)
    tokenizer.chat_template = PLAIN.replace("+ eos_token }}{% endgeneration %}", "}}{% endgeneration %}{{ eos_token }}")
    with pytest.raises(
        DataError, match="marks 2 assistant turns of 2 and 0 end tokens of 2: the model would not learn"
    ):
        check_template(tokenizer)
    tokenizer.chat_template = "{{ raise_exception('no roles') }}"
    with pytest.raises(DataError, match="cannot write a chat"):
        check_template(tokenizer)


def test_labels():
    assert check_labels([[-100, 5, 2], [7]]) == 3
    assert check_labels([{"labels": torch.tensor([-100, 5])}]) == 1
    assert check_labels(torch.tensor([[-100, 5], [5, 5]])) == 3
    assert check_labels(Dataset.from_list([{"input_ids": [4, 5], "labels": [-100, 5]}]), expected=1) == 1


@pytest.mark.parametrize(
    ("examples", "options", "sentence"),
    [
        ([[5], [-100, -100]], {}, r"my.jsonl, line 2, field labels: all 2 labels are masked \(-100\)"),
        ([[5], [-100]], {"lines": [4, 9]}, "my.jsonl, line 9, field labels: .* check that the record holds an answer"),
        (
            [[5]],
            {"expected": 3},
            "my.jsonl has 1 of 3 examples left, .* `python -m shared.data check FILE --max-length",
        ),
        ([], {}, "my.jsonl holds no example to train"),
        (Dataset.from_list([{"text": "a"}]), {}, "my.jsonl has the fields text and no labels"),
    ],
)
def test_what_trains_nothing_is_refused(examples, options, sentence):
    with pytest.raises(DataError, match=sentence):
        check_labels(examples, "my.jsonl", **options)
