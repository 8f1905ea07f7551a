"""Chat templates with marks around what the assistant says, and the check that some token of every example is trained.

A template writes a list of messages as one text. Between `{% generation %}` and `{% endgeneration %}` stands what is the
assistant's: `SFTConfig(assistant_only_loss=True)` trains that and nothing else, every turn of it, the end token included.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from shared.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that is read and not trained

# For models with the tokens <|im_start|> and <|im_end|>, like SmolLM2: their own template, without a default system turn.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'].strip() + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'].strip() + eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# For models without such tokens (Falcon, falcon-tiny): the text of shared.data.tokens.PLAIN_TEMPLATE, and the marks.
PLAIN = (
    "{% for message in messages %}{{ message['role'].capitalize() + ':' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ ' ' + message['content'].strip() + eos_token }}{% endgeneration %}"
    "{% else %}{{ ' ' + message['content'].strip() }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

PROBE = [
    {"role": "user", "content": "Is it red?"},
    {"role": "assistant", "content": "It is."},
    {"role": "user", "content": "And blue?"},
    {"role": "assistant", "content": "No."},
]


def use_template(tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedTokenizerBase":
    """Give `tokenizer` the marked template that fits its tokens, and return it.

    CHATML where `<|im_start|>` is one token and the end token is `<|im_end|>`, else PLAIN.
    """
    chatml = tokenizer.eos_token == "<|im_end|>" and "<|im_start|>" in tokenizer.get_vocab()
    tokenizer.chat_template = CHATML if chatml else PLAIN
    return tokenizer


def check_template(tokenizer: "PreTrainedTokenizerBase", marks: bool = True) -> None:
    """Raise DataError where messages cannot be trained with the template of `tokenizer`.

    It must be there, take a chat, and with `marks` (for `assistant_only_loss=True`) mark every assistant turn and the end
    token behind it.
    """
    remedy = "set one with `use_template(tokenizer)` of shared.data.templates"
    if not tokenizer.chat_template:
        raise DataError(f"The field messages cannot be written as text: the tokenizer has no chat template; {remedy}.")
    try:
        made = tokenizer.apply_chat_template(
            PROBE, tokenize=True, return_dict=True, return_assistant_tokens_mask=marks, add_generation_prompt=False
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise DataError(f"The chat template cannot write a chat ({str(error).splitlines()[0]}); {remedy}.") from error
    if not marks:
        return
    mask = made["assistant_masks"]
    spans = sum(now and not before for before, now in zip([0, *mask], mask, strict=False))
    ends = sum(bool(m) and token == tokenizer.eos_token_id for token, m in zip(made["input_ids"], mask, strict=True))
    if not spans:
        raise DataError(f"The chat template has no {{% generation %}} marks, so no label is left to train; {remedy}.")
    if (spans, ends) != (2, 2):
        found = f"marks {spans} assistant turns of 2 and {ends} end tokens of 2"
        raise DataError(f"The chat template {found}: the model would not learn to stop; {remedy}.")


def check_labels(
    examples: Iterable, source: str = "the data set", expected: int | None = None, lines: Sequence[int] | None = None
) -> int:
    """The number of trained tokens in `examples`; raises DataError where an example has none, or some are missing.

    `examples`: a data set as SFTTrainer has prepared it (`trainer.train_dataset`), any rows with a field `labels`, or the
    lists of labels themselves. `expected`: how many there should be, because TRL drops examples whose prompt fills
    `max_length` without a word. `lines`: the line of each example in `source`, where it is not 1, 2, 3, ...
    """
    columns = getattr(examples, "column_names", None)
    if columns and "labels" not in columns:
        raise DataError(
            f"{source} has the fields {', '.join(columns)} and no labels: pass what a trainer has prepared."
        )
    total = count = 0
    for count, example in enumerate(examples["labels"] if columns else examples, 1):
        labels = example["labels"] if isinstance(example, dict) else example
        labels = labels.tolist() if hasattr(labels, "tolist") else labels
        trained = sum(label != IGNORED for label in labels)
        if not trained:
            line = lines[count - 1] if lines else count
            raise DataError(
                f"{source}, line {line}, field labels: all {len(labels)} labels are masked ({IGNORED}) and no token is "
                "trained; check that the record holds an answer, that the template marks it, and max_length."
            )
        total += trained
    if not count:
        raise DataError(f"{source} holds no example to train: check max_length and the mask.")
    if expected is not None and count != expected:
        raise DataError(
            f"{source} has {count} of {expected} examples left, the others had no token to train within max_length: "
            "`python -m shared.data check FILE --max-length N` names their lines; shorten the prompts or raise max_length."
        )
    return total
