"""Training examples as texts, and how many tokens those have. Without PyTorch, whose import takes seconds and a gigabyte."""

import json
import re
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

from tokenizers.models import BPE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORD = re.compile(r"[^\S\x1c-\x1f]*[\S\x1c-\x1f]+|[^\S\x1c-\x1f]+")  # \x1c to \x1f are spaces to Python alone
WORDS_HELD = 2**21  # characters of the words whose tokens are remembered: twice that takes about 80 MB

# For models that bring no chat template (Falcon, falcon-tiny): plain text, closed by the end token.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].capitalize() + ': ' + message['content'].strip() }}"
    "{{ eos_token + '\\n' if message['role'] == 'assistant' else '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def complete(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Give `tokenizer` a padding token that is not the end token, and a chat template, where it has none."""
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        special = [*tokenizer.all_special_tokens, *(t for t in tokenizer.get_added_vocab() if t.startswith("<"))]
        spare = [token for token in special if token not in (tokenizer.eos_token, tokenizer.bos_token)]
        tokenizer.pad_token = (spare or [tokenizer.bos_token or tokenizer.eos_token])[0]
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE


def example_texts(tokenizer: "PreTrainedTokenizerBase", example: dict) -> tuple[str, str]:
    """(prompt, prompt and completion) of a training example as text; the prompt is "" for plain text."""
    if "text" in example:
        return "", example["text"]
    prompt, completion = example["prompt"], example["completion"]
    if isinstance(prompt, str):
        return prompt, prompt + completion
    whole = tokenizer.apply_chat_template([*prompt, *completion], tokenize=False).rstrip()
    return (
        tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True),
        whole.removesuffix(tokenizer.eos_token),
    )


def token_counter(tokenizer: "PreTrainedTokenizerBase") -> Callable[[list[tuple[str, str]]], list[tuple[int, int]]]:
    """A function that tells of pairs (prompt, prompt and completion) how many tokens `tokenizer` makes of each text.

    Where it may cut texts at spaces, it has each word tokenised once and looks it up from then on, which is several
    times as fast, and does not count a prompt again in the whole.
    """
    known, older, held = {}, {}, 0  # word -> its tokens; a word that is not met for long is forgotten
    added = tokenizer.num_special_tokens_to_add()

    def tokens(words: list[str]) -> int:
        return sum(map(known.__getitem__, words))

    def count_words(pairs: list[tuple[str, str]]) -> list[tuple[int, int]]:
        nonlocal known, older, held
        if held > WORDS_HELD:
            known, older, held = {}, known, 0
        parts = []  # of each pair: the words that both texts have, the prompt's last, and what the whole has instead
        for prompt, whole in pairs:
            words = WORD.findall(prompt)
            shared = words[:-1] if whole.startswith(prompt) else []
            parts.append((shared, words[len(shared) :], WORD.findall(whole, len("".join(shared)))))
        new = set(chain.from_iterable(chain.from_iterable(parts))).difference(known)
        held += sum(map(len, new))
        known.update((word, older[word]) for word in new.intersection(older))
        unknown = list(new.difference(older))
        encodings = tokenizer.backend_tokenizer.encode_batch_fast(unknown, add_special_tokens=False)
        known.update(zip(unknown, map(len, encodings), strict=True))
        starts = [added + tokens(shared) for shared, _, _ in parts]
        return [(n + tokens(end), n + tokens(rest)) for n, (_, end, rest) in zip(starts, parts, strict=True)]

    def count_texts(pairs: list[tuple[str, str]]) -> list[tuple[int, int]]:
        columns = (map(len, tokenizer(list(texts))["input_ids"]) for texts in zip(*pairs, strict=True))
        return list(zip(*columns, strict=True))

    return count_words if can_cut_at_spaces(tokenizer) else count_texts


def can_cut_at_spaces(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the tokens of a text are those of its words (WORD), one after the other.

    They are with byte-level BPE on GPT-2's words, as in Falcon and SmolLM2: no such word holds a space behind something
    else, and where one ends does not depend on anything behind the next space. Added tokens must not hold spaces either.
    """
    if not tokenizer.is_fast or getattr(tokenizer, "split_special_tokens", False):
        return False
    fast = tokenizer.backend_tokenizer
    state = json.loads(fast.pre_tokenizer.__getstate__()) if fast.pre_tokenizer else {"type": None}
    steps = state.get("pretokenizers", [state])
    kinds = [step["type"] for step in steps if step["type"] not in ("Digits", "Punctuation")]
    added = fast.get_added_tokens_decoder().values()
    return (
        kinds[:1] == ["ByteLevel"]  # what comes after it splits words further
        and set(kinds) <= {"ByteLevel", "Split"}
        and not any(step.get("add_prefix_space") or step.get("use_regex") is False for step in steps)
        and not any(t.lstrip or t.rstrip or t.single_word or re.search(r"\s", t.content) for t in added)
        and fast.normalizer is fast.padding is fast.truncation is None
        and isinstance(fast.model, BPE)
        and not fast.model.dropout
    )
