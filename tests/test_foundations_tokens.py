"""01-Foundations/Tokens-and-Templates: its BPE equals the library's, ties included, and a mistake in it is found."""

import ast
import functools
import itertools
import json
from collections import Counter

import nbformat
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from shared.data.corpus import documents
from shared.profile import ROOT

DEFINITIONS = ("import hashlib", "WORDS =", "def words_of(", "def merged(", "def train_bpe(", "class BPE")
SPECIAL = ["<|endoftext|>", "<|pad|>"]
TIES = "ab ac ba bc ca cb ab ac ba bc aab abb aaa aaaa aaaaa bbbb abab baba xyxyx yxyxy 11 22 2211"  # nearly all counts tie
PROBES = ("Zürich  ist\tschön ½ ²\n\n", "it's   we'LL\r\n", "東京 12 345 😀😀", "aaaaaaa abababa xyxyxyx", " ", "")


@functools.cache
def source() -> str:
    """Imports, constants, functions and classes of the cells that define the BPE."""
    cells = nbformat.read(ROOT / "01-Foundations/Tokens-and-Templates.ipynb", 4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    chosen = [next(text for text in code if start in text) for start in DEFINITIONS]
    chosen[0] = "\n".join(line for line in chosen[0].splitlines() if line.startswith(("import ", "from ")))
    nodes = [node for text in chosen for node in ast.parse(text).body]
    return "\n\n".join(ast.unparse(node) for node in nodes if isinstance(node, kept) or is_constant(node))


def is_constant(node: ast.stmt) -> bool:
    """Whether a line sets a name in capitals, or what the table of bytes is made of."""
    names = [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]
    return isinstance(node, ast.Assign) and all(name.isupper() or name in ("visible", "hidden") for name in names)


def namespace(old: str = "", new: str = "") -> dict:
    """What the cells define, with `old` replaced by `new` in their source."""
    assert not old or old in source(), f"the notebook has no {old}"
    names = {"__name__": "notebook"}
    exec(compile(source().replace(old, new) if old else source(), "notebook", "exec"), names)
    return names


@functools.cache
def texts() -> tuple[str, ...]:
    return tuple(itertools.islice(documents(seed=3), 300))


@functools.cache
def library(corpus: tuple[str, ...], size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"special_tokens": SPECIAL, "initial_alphabet": alphabet, "show_progress": False}
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=size, **options))
    return tokenizer


def is_equal(names: dict, corpus: tuple[str, ...], size: int) -> bool:
    """Same words, merges in the same order, same numbers, same tokens of other texts, and the texts back."""
    theirs = library(corpus, size)
    model = json.loads(theirs.to_str())["model"]
    counts = Counter(word for text in corpus for word in names["words_of"](text))
    vocabulary, merges = names["train_bpe"](counts, size, SPECIAL)
    if merges != [tuple(pair) for pair in model["merges"]] or vocabulary != model["vocab"]:
        return False
    bpe, probes = names["BPE"](vocabulary, merges), [*PROBES, *itertools.islice(documents(seed=4), 50)]
    same = all(bpe.encode(text) == theirs.encode(text).ids for text in probes)
    return same and all(bpe.decode(bpe.encode(text)) == text for text in probes)


@pytest.mark.parametrize("size", (258, 300, 700))
def test_the_cells_equal_the_library(size):
    assert is_equal(namespace(), texts(), size)


def test_ties_are_broken_as_in_the_library():
    """Down to pairs that occur once, and with words that are one letter over and over."""
    assert is_equal(namespace(), (TIES,), 330)


MISTAKES = {
    "ties by the larger number": (
        "(-n, pair) for pair, n in pairs.items()",
        "(-n, (-pair[0], -pair[1])) for pair, n in pairs.items()",
    ),
    "out of date counts are used": ("if pairs[pair] != -n:", "if False:"),
    "out of date counts are dropped": ("heapq.heappush(queue, (-pairs[pair], pair))", "pass"),
    "words counted once": ("pairs[pair] += times", "pairs[pair] += (times > 0) - (times < 0)"),
    "old pairs not subtracted": ("add_pairs(pairs, tokens, -n)", "pass"),
    "new pairs not queued": ("grown |= {made} if new in made else set()", "pass"),
    "overlaps merged twice": ("place += 2", "place += 1"),
    "only the first pair of a word merged": (
        "tuple(tokens[place:place + 2]) == pair",
        "tuple(tokens[place:place + 2]) == pair and new not in result",
    ),
    "the alphabet backwards": ("[*special, *sorted(BYTE)]", "[*special, *sorted(BYTE)[::-1]]"),
    "no special tokens": ("[*special, *sorted(BYTE)]", "[*sorted(BYTE)]"),
    "latest merge first": ("min(ranked)", "max(ranked)"),
    "merges applied by number": ("(rank, vocabulary[left + right])", "(-rank, vocabulary[left + right])"),
    "space belongs to the word before": (" ?\\\\p{L}+", "\\\\p{L}+ ?"),
    "numbers whole": ("\\\\p{N}|\\\\P{N}+", ".+"),
    "bytes without the shift": ("chr(256 + i)", "chr(512 + i)"),
}


@pytest.mark.parametrize(("old", "new"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found(old, new):
    names = namespace(old, new)
    try:
        found = not is_equal(names, texts(), 700) or not is_equal(names, (TIES,), 330)
    except (KeyError, IndexError):  # a mistake that stops the program is found, too
        found = True
    assert found


def test_by_hand():
    """Three merges that can be done on paper: in `low low lower` the pair l-o comes first, by its number before o-w."""
    names = namespace()
    counts = Counter({"low": 2, "lower": 1})
    _, merges = names["train_bpe"](counts, 258 + 3, SPECIAL)
    assert merges == [("l", "o"), ("lo", "w"), ("e", "r")]
    assert names["merged"]([7, 7, 7], (7, 7), 9) == [9, 7]


def test_the_bpe_is_short():
    cells = nbformat.read(ROOT / "01-Foundations/Tokens-and-Templates.ipynb", 4).cells
    starts = ("def merged(", "def train_bpe(")
    code = "\n".join(next(c.source for c in cells if c.cell_type == "code" and start in c.source) for start in starts)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 55
