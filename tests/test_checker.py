"""The data checker: each class of fault is found with its line, field and remedy; a good file passes; memory stays flat;
lengths are those of training."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from shared.data.__main__ import load_tokenizer_alone, main
from shared.data.checker import check_file
from shared.data.faults import line_findings, read_jsonl, scan_jsonl
from shared.data.problems import FILES as PROBLEMS
from shared.data.records import to_examples
from shared.data.tokens import PLAIN_TEMPLATE, can_cut_at_spaces, example_texts, token_counter
from shared.errors import DataError
from shared.models import load_tokenizer
from shared.profile import PROFILES, ROOT, TINY_MODEL

GOOD = [{"prompt": f"What is {n} + 1?", "completion": f" {n + 1}"} for n in range(5)]
LONG = "word " * 300


def chat(*roles: str) -> dict:
    return {"messages": [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles)]}


def lines(*records: object) -> bytes:
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


# name: (the file, the line of the fault, its field, words of the problem, words of the remedy)
FAULTS = {
    "not UTF-8": (lines(GOOD[0], b'{"prompt": "caf\xe9", "completion": "x"}'), 2, "", "byte 16 is not UTF-8", "UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf" + lines(*GOOD), 1, "", "byte order mark", "without one"),
    "CRLF": (b'{"prompt": "a", "completion": "b"}\r\n', 1, "", "CRLF", "LF"),
    "broken JSON": (lines(GOOD[0], b'{"prompt": "a", "completion": }'), 2, "", "column 31", "one JSON object"),
    "single quotes": (lines(b"{'prompt': 'a', 'completion': 'b'}"), 1, "", "double quotes", "one JSON object"),
    "no object": (lines(GOOD[0], "just text"), 2, "", "is not an object", "write a record like"),
    "missing field": (lines(GOOD[0], {"prompt": "a"}), 2, "completion", "expected 'prompt' and 'completion'", "name"),
    "misspelt field": (lines({"promt": "a", "completion": "b"}), 1, "", "found 'promt'", "rename 'promt' to 'prompt'"),
    "fields of another format": (lines({"instruction": "a", "output": "b"}), 1, "", "found", "to 'completion'"),
    "null": (lines(GOOD[0], {"prompt": "a", "completion": None}), 2, "completion", "null is not text", "double quotes"),
    "wrong type": (lines({"prompt": "a", "completion": 4}), 1, "completion", "4 is not text", "double quotes"),
    "empty prompt": (lines({"prompt": " ", "completion": "b"}), 1, "prompt", "it is empty", "fill it in"),
    "empty completion": (lines({"prompt": "a", "completion": ""}), 1, "completion", "it is empty", "fill it in"),
    "unknown role": (lines(chat("human", "assistant")), 1, "messages[0].role", "is not a role", "for human"),
    "two turns of one role": (
        lines(chat("user", "user", "assistant")),
        1,
        "messages[1].role",
        "after user",
        "alternate",
    ),
    "assistant first": (lines(chat("assistant", "user", "assistant")), 1, "messages[0].role", "the start", "alternate"),
    "system in the middle": (
        lines(chat("user", "system", "assistant")),
        1,
        "messages[1].role",
        "system",
        "at most one",
    ),
    "no assistant": (lines(chat("user")), 1, "messages[0].role", "the end comes after user", "assistant last"),
    "no turns": (lines({"messages": []}), 1, "messages", "is not a list of turns", "role"),
    "turn without content": (lines({"messages": [{"role": "user"}]}), 1, "messages[0]", "lacks role", "write"),
    "too long": (lines({"prompt": "a", "completion": LONG}), 1, "", "tokens are cut to 64", "--max-length"),
    "every label masked": (lines({"prompt": LONG, "completion": "b"}), 1, "prompt", "no token is left", "--max-length"),
    "special token": (lines({"prompt": "a", "completion": "b<|endoftext|>"}), 1, "completion", "special", "adds them"),
    "mixed formats": (lines(GOOD[0], {"text": "a"}), 2, "", "a text record among prompt-completion", "one format"),
    "duplicate": (lines(*GOOD, GOOD[1]), 6, "", "stands in line 2 already", "keep one"),
    "contradiction": (lines(GOOD[0], GOOD[0] | {"completion": " 7"}), 2, "completion", "line 1 answers", "keep one"),
    "control character": (lines({"prompt": "a\x07", "completion": "b"}), 1, "prompt", "'\\x07'", "remove control"),
    "half a surrogate pair": (lines(b'{"prompt": "a", "completion": "\\ud83d"}'), 1, "completion", "surrogate", "half"),
    "NaN": (lines({"prompt": "a", "completion": "b", "score": float("nan")}), 1, "", "NaN", "no text"),
    "a field twice": (lines(b'{"prompt": "a", "prompt": "c", "completion": "b"}'), 1, "", "twice", "keep one"),
    "huge line": (lines(GOOD[0], {"text": "x" * 2**24}, GOOD[1]), 2, "", "longer than 16 MiB", "one JSON object"),
}
REFUSED = {
    "array": (b"[" + lines(GOOD[0]) + b"]", "not JSONL, one object on each line: convert it by"),
    "gzip by another name": (gzip.compress(lines(*GOOD)), "compressed with gzip: unpack it first"),
    "UTF-16": (lines(*GOOD).decode().encode("utf-16"), "is UTF-16: save it as UTF-8"),
}


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY_MODEL)


def check(tmp_path, content: bytes, tokenizer=None, **options):
    path, told = tmp_path / "my.jsonl", []
    path.write_bytes(content)
    return check_file(path, tokenizer, 64, tell=told.append, **options), told


@pytest.mark.parametrize("name", FAULTS)
def test_each_class_of_fault_is_told_with_place_and_remedy(name, tmp_path, tokenizer):
    content, line, field, problem, remedy = FAULTS[name]
    summary, told = check(tmp_path, content, tokenizer)
    place = f"line {line}, {field}: " if field else f"line {line}: "
    assert len(told) == 1 and told[0].startswith(place), told
    assert problem in told[0].split("; ")[0] and remedy in told[0], told
    assert sum(summary.kinds.values()) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_no_jsonl_are_refused_in_a_sentence(name, tmp_path):
    content, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        check(tmp_path, content)


def test_there_are_more_than_25_classes():
    assert len(FAULTS) + len(REFUSED) >= 25


def test_a_good_file_passes_with_its_figures(tmp_path, tokenizer):
    summary, told = check(tmp_path, lines(*GOOD), tokenizer)
    assert told == [] and summary.records == 5 and summary.format == "prompt-completion"
    counts = [len(tokenizer(r["prompt"] + r["completion"])["input_ids"]) + 1 for r in GOOD]
    prompts = [len(tokenizer(r["prompt"])["input_ids"]) for r in GOOD]
    assert list(summary.lengths) == counts and summary.truncated == 0
    assert summary.trained == sum(counts) - sum(prompts)
    assert f"{max(counts)} at most" in str(summary) and "findings     0" in str(summary)


def test_chats_and_plain_texts_are_counted_too(tmp_path, tokenizer):
    summary, _ = check(tmp_path, lines(chat("user", "assistant")), tokenizer)
    assert summary.format == "messages" and 0 < summary.trained < sum(summary.lengths)
    summary, _ = check(tmp_path, lines({"text": "Once."}), tokenizer)
    assert summary.trained == sum(summary.lengths)


def test_many_findings_of_one_kind_are_counted(tmp_path):
    summary, told = check(tmp_path, lines(*[{"prompt": "", "completion": f"{n}"} for n in range(40)]))
    assert len(told) == 6 and told[-1].startswith("... and 35 more") and sum(summary.kinds.values()) == 40


def test_overlap_with_another_file(tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(lines(*GOOD[3:], {"prompt": "new", "completion": "x"}))
    summary, told = check(tmp_path, lines(*GOOD), against=other)
    assert summary.overlap == 2 and told[0].startswith("line 4: the record is in other.jsonl, too")


@pytest.mark.parametrize(
    ("first", "second", "duplicates", "contradictions"),
    [
        ({"prompt": "a", "completion": "b"}, {"id": 1, "completion": "b", "prompt": "a"}, 1, 0),
        ({"prompt": "a", "completion": "bc"}, {"prompt": "ab", "completion": "c"}, 0, 0),
        ({"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "a"}, 0, 1),
        ({"text": "a"}, {"text": "a", "id": 1}, 1, 0),
        (chat("user", "assistant"), {"messages": [dict(reversed(t.items())) for t in chat("user", "assistant")["messages"]]}, 1, 0),
        (chat("user", "assistant"), {"messages": [chat("user")["messages"][0], {"role": "assistant", "content": "x"}]}, 0, 1),
        (chat("user", "assistant"), chat("system", "user", "assistant"), 0, 0),
    ],
)  # fmt: skip
def test_equal_records_and_equal_prompts(tmp_path, first, second, duplicates, contradictions):
    summary, told = check(tmp_path, lines(first, second))
    assert (summary.duplicates, summary.contradictions) == (duplicates, contradictions) and len(told) <= 1


def test_repetitions_name_the_first_line_and_come_in_order(tmp_path):
    records = [GOOD[0], GOOD[1], GOOD[0], GOOD[1] | {"completion": "x"}, GOOD[0], GOOD[1] | {"completion": "x"}]
    _, told = check(tmp_path, b"\n" + lines(*records))
    assert [line.split(";")[0] for line in told] == [
        "line 4: the record stands in line 2 already",
        "line 6: the record stands in line 2 already",
        "line 7: the record stands in line 5 already",
        "line 5, completion: line 3 answers the same prompt otherwise",
    ]


def test_kinds_of_findings_do_not_grow_with_the_names_in_the_file(tmp_path):
    names = [f'it\'s {n} "instructions\\"' for n in range(20)] + [f"{n}'s" for n in range(20)] + list("abcdefgh")
    summary, told = check(
        tmp_path, lines(*({name: 1} for name in names), *({"prompt": "a", f"output'{n}": ""} for n in range(9)))
    )
    assert len(summary.kinds) == 2 and len(told) == 12


def test_what_a_chat_template_refuses_is_told(tmp_path):
    own = AutoTokenizer.from_pretrained(TINY_MODEL)
    own.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}x"
    summary, told = check(tmp_path, lines(chat("user", "assistant"), chat("system", "user", "assistant")), own)
    assert len(told) == 1 and "line 2, messages: the model's chat template refuses it (no system role)" in told[0]
    assert len(summary.lengths) == 1


# Lengths are those of training


def variant(change=lambda fast: None, **options):
    own = AutoTokenizer.from_pretrained(TINY_MODEL, **options)
    own.chat_template = PLAIN_TEMPLATE
    change(own.backend_tokenizer)
    return own


SIGNS = list(
    " \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u180e\u2003\u2028\u200b\u3000\ufeff" + "aZé9²½ⅷ一'_.,!<|>ー🎉\u0301\x00\x7f"
)
PIECES = [*SIGNS, "  ", " a", "'s", "'ll", "12 345", "<|endoftext|>", "<|", "|>", "\n\n", " .", "word"]


def learned(*steps):
    """A tokenizer with these steps whose BPE has merged whatever stood together in odd texts."""
    rng, fast = random.Random(0), Tokenizer(models.BPE())
    set_pre_tokenizer(*steps)(fast)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    fast.train_from_iterator(("".join(rng.choices(PIECES, k=12)) for _ in range(3000)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="<|endoftext|>", chat_template=PLAIN_TEMPLATE)


def set_pre_tokenizer(*steps):
    return lambda fast: setattr(fast, "pre_tokenizer", pre_tokenizers.Sequence(list(steps)))


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
FALCON = (pre_tokenizers.Punctuation("contiguous"), BYTES, pre_tokenizers.Digits(), pre_tokenizers.Split(Regex("[0-9]{3}"), "isolated"))  # fmt: skip
LLAMA = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
AT_START = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
VARIANTS = {  # name: (the tokenizer, whether its texts may be cut at spaces)
    "falcon-tiny": (lambda: load_tokenizer(TINY_MODEL), True),
    "as Falcon-7B": (lambda: learned(*FALCON), True),
    "as GPT-2": (lambda: learned(BYTES), True),
    "as SmolLM2": (lambda: learned(pre_tokenizers.Digits(True), BYTES), True),
    "special token at the start": (lambda: variant(lambda fast: setattr(fast, "post_processor", AT_START)), True),
    "prefix space": (lambda: variant(set_pre_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=True))), False),
    "Llama's words": (
        lambda: variant(set_pre_tokenizer(pre_tokenizers.Split(Regex(LLAMA), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False))),
        False,
    ),
    "whole text": (lambda: variant(set_pre_tokenizer(pre_tokenizers.ByteLevel(False, use_regex=False))), False),
    "normalizer": (lambda: variant(lambda fast: setattr(fast, "normalizer", normalizers.Replace(" ", ""))), False),
    "token with a space": (lambda: variant(lambda fast: fast.add_tokens(["a b"])), False),
    "token that takes spaces": (lambda: variant(lambda fast: fast.add_tokens([AddedToken("ab", rstrip=True)])), False),
    "padding": (lambda: variant(lambda fast: fast.enable_padding()), False),
    "special tokens split": (lambda: variant(split_special_tokens=True), False),
}  # fmt: skip
SMALL = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fine-tuning-course/SmolLM2-135M-Instruct"
if SMALL.is_dir():
    VARIANTS["SmolLM2"] = (lambda: load_tokenizer(SMALL), True)


@pytest.fixture(scope="module", params=VARIANTS)
def any_tokenizer(request):
    make, can_cut = VARIANTS[request.param]
    made = make()
    assert can_cut_at_spaces(made) == can_cut
    return made


def real_examples() -> list[dict]:
    """The course's records, as they are and as chats, and the text of its documents and programs."""
    pairs = read_jsonl(ROOT / "shared/data/orders-heldout.jsonl")[:100]
    files = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "shared").glob("*.py")), ROOT / "02-PEFT/Falcon-7B-LoRA.ipynb"]
    texts = [file.read_text(encoding="utf-8")[:20_000] for file in files]
    texts = [text[start : start + 500] for text in texts for start in range(0, len(text), 500)]
    texts = [text for text in texts if text.strip()]
    roles = ("system", "user", "assistant", "user", "assistant")
    chats = [
        [{"role": r, "content": t} for r, t in zip(roles, texts[n:], strict=False)] for n in range(0, len(texts) - 5, 5)
    ]
    records = [{"prompt": a, "completion": b} for a, b in pairwise(texts)]
    return (
        to_examples(pairs + records)
        + to_examples([{"text": t} for t in texts])
        + to_examples([{"messages": c} for c in chats])
    )


def lengths(tokenizer, pairs: list[tuple[str, str]]) -> list[tuple[int, int]]:
    return [tuple(len(tokenizer(text)["input_ids"]) for text in pair) for pair in pairs]


def test_lengths_are_those_of_training(any_tokenizer):
    examples = real_examples()
    pairs = [example_texts(any_tokenizer, example) for example in examples]
    assert len(pairs) > 500
    count, expected = token_counter(any_tokenizer), lengths(any_tokenizer, pairs)
    assert count(pairs) == expected and count(pairs[:9]) == expected[:9]  # unknown words, then known ones
    assert count([]) == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), min_size=2, max_size=6))
@example(texts=["a ", " b"])
@example(texts=["a \n", "\n b", "  ", " "])
@example(texts=["a\x1c", " \x1cb", "!\x1c!"])
@example(texts=["it", "'s <|endof", "text|>"])
def test_lengths_of_odd_texts_are_those_of_training(any_tokenizer, texts):
    pairs = [(texts[0], "".join(texts)), (texts[1], "".join(texts)), ("", texts[0]), ("".join(texts), texts[-1])]
    assert token_counter(any_tokenizer)(pairs) == lengths(any_tokenizer, pairs)


def test_words_may_be_forgotten(monkeypatch):
    monkeypatch.setattr("shared.data.tokens.WORDS_HELD", 40)
    tokenizer, rng = load_tokenizer(TINY_MODEL), random.Random(0)
    count = token_counter(tokenizer)
    for _ in range(30):
        words = [f" {rng.randrange(40)}" for _ in range(20)]
        pairs = [("".join(words[:9]), "".join(words))]
        assert count(pairs) == lengths(tokenizer, pairs)


# The command


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "shared.data", "check", *arguments, "--model", str(TINY_MODEL)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_command_exits_with_0_or_1_and_never_with_a_traceback(tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_bytes(lines(*GOOD))
    bad.write_bytes(lines(*GOOD, {"prompt": "a"}))
    done = run(str(good))
    assert done.returncode == 0 and "findings     0" in done.stdout
    done = run(str(bad), "--max-length", "32")
    assert done.returncode == 1 and "line 6, completion:" in done.stdout and "Traceback" not in done.stderr
    done = run(str(tmp_path / "none.jsonl"))
    assert done.returncode == 1 and "cannot be read" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """A function that runs the command in this process, in an empty folder: exit status and the lines of stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # the command sets it: put it back afterwards

    def call(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["data", "check", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err.splitlines()

    return call


def make_odd_files() -> None:
    Path("good.jsonl").write_bytes(lines(*GOOD))
    Path("empty.jsonl").touch()
    Path("blank.jsonl").write_text("\n \r\n")
    Path("folder").mkdir()
    Path("link.jsonl").symlink_to("nowhere")
    os.mkfifo("pipe")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.jsonl", "empty.jsonl is empty: write"),
        ("blank.jsonl", "blank.jsonl is empty: write"),
        ("folder", "folder cannot be read (Is a directory): name a JSONL file"),
        ("pipe", "pipe is a pipe or a device: save"),
        ("/dev/null", "/dev/null is a pipe or a device: save"),
        ("none.jsonl", "none.jsonl cannot be read (No such file or directory): name a JSONL file, like"),
        ("link.jsonl", "link.jsonl cannot be read (No such file or directory): name a JSONL file, like blank.jsonl"),
    ],
)
def test_what_is_no_file_with_records_is_refused_in_a_sentence(command, name, words):
    make_odd_files()
    for arguments in ((name,), ("good.jsonl", "--against", name)):
        status, said = command(*arguments)
        assert status == 1 and len(said) == 1 and said[0].startswith(f"error: {words}"), said


def test_a_file_that_may_not_be_read(command, monkeypatch):
    make_odd_files()
    if os.geteuid():
        Path("good.jsonl").chmod(0)
    else:  # root may read everything

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    status, said = command("good.jsonl")
    monkeypatch.undo()
    assert status == 1 and said == [
        "error: good.jsonl cannot be read (Permission denied): allow it, by `chmod u+r` or its owner."
    ]


@pytest.mark.parametrize(
    "arguments", [(), ("x", "--max-length", "0"), ("x", "--max-length", "-1"), ("x", "--max-length", "y")]
)
def test_wrong_usage_exits_with_2(command, arguments):
    status, said = command(*arguments)
    assert status == 2 and "usage:" in said[0] and ("FILE" in said[-1] or "is not a whole number from 1 up" in said[-1])


@pytest.mark.parametrize("size", [10, 10**6])
def test_a_file_that_changes_while_it_is_read(tmp_path, size):
    path = tmp_path / "my.jsonl"
    path.write_bytes(lines(*GOOD) * 1000)
    scanned = scan_jsonl(path)
    next(scanned)
    os.truncate(path, size)
    with pytest.raises(
        DataError, match=r"^[^\n]*my.jsonl changed while it was read \([^\n]* now\): start again when[^\n]*\.$"
    ):
        list(scanned)


def test_a_file_that_grows_for_ever_is_left(tmp_path):
    path, read = tmp_path / "my.jsonl", 0
    path.write_bytes(lines(*GOOD))
    with path.open("ab") as file, pytest.raises(DataError, match="changed while it was read"):
        for _ in scan_jsonl(path):
            file.write(lines(*GOOD))
            file.flush()
            read += 1
    assert read == len(GOOD)


def start(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-u", "-m", "shared.data", "check", *arguments, "--model", str(TINY_MODEL)]
    # Where the tests run in the background of a shell, it has them and their children ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    return process


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    """30 MB with a fault in its first line."""
    return write_large(tmp_path_factory.mktemp("large") / "large.jsonl", 30)


def write_large(path: Path, megabytes: int, fault: bool = False) -> Path:
    filling = "the lamp in the shop is green and costs three coins, " * 7
    record = '{"prompt": "%d. ' + filling + '", "completion": ' + ("%d}\n" if fault else '"%d"}\n')
    with path.open("w") as file:
        file.write('{"prompt": "", "completion": "a"}\n')
        for number in range(megabytes * 10**6 // len(record % (10**4, 10**4))):
            file.write(record % (number, number))
    return path


def test_nan_in_a_text_is_text():
    raw = json.dumps({"prompt": "a", "completion": "the values are 1, NaN, -Infinity: [NaN]"}).encode()
    assert not list(line_findings(raw, 1))


def test_ctrl_c_ends_with_a_sentence(large_file):
    process = start(str(large_file))
    assert process.stdout.readline().startswith("line 1, prompt: it is empty")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert errors.splitlines()[-1] == "Interrupted: the file was not checked to its end."


def test_findings_can_be_piped_into_head(large_file):
    process = start(str(large_file), "--max-length", "4")
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 1 and "Traceback" not in errors and "BrokenPipe" not in errors


# Memory

PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"  # kB


def peak_mb(program: str, *arguments: object) -> float:
    """Peak of the resident memory of a Python that runs `program`; ru_maxrss would count pytest's, until exec, too."""
    command = [sys.executable, "-c", f"{program}\n{PEAK}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1]) / 1000


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from Linux' /proc")
CHECK = "import sys, pathlib, shared.data.checker as c; c.check_file(pathlib.Path(sys.argv[1]))"


@needs_proc
@pytest.mark.parametrize("fault", [False, True])
def test_ten_times_the_file_takes_a_few_megabytes_more(tmp_path, fault):
    """24 bytes a record, and as much for a while when repetitions are looked for: 5 MB for 70,000; held records: 70 MB."""
    small, large = write_large(tmp_path / "small.jsonl", 3, fault), write_large(tmp_path / "large.jsonl", 30, fault)
    assert peak_mb(CHECK, large) - peak_mb(CHECK, small) < 6


@needs_proc
def test_the_command_leaves_pytorch_alone(tmp_path):
    """PyTorch alone is 600 MB and more."""
    path = tmp_path / "good.jsonl"
    path.write_bytes(lines(*GOOD, chat("user", "assistant")))
    program = (
        "import sys, shared.data.__main__ as command\nsys.argv[1:] = ['check', *sys.argv[1:]]\n"
        "try: command.main()\nexcept SystemExit: assert not sys.modules.get('torch')"
    )
    assert peak_mb(program, path, "--model", TINY_MODEL) < 200


@pytest.mark.parametrize("spare", ["<|pad|>", None])
def test_the_command_loads_the_tokenizer_of_the_course(tmp_path, spare):
    """As load_tokenizer does, where a model lacks a padding token and a chat template, too."""
    model = shutil.copytree(TINY_MODEL, tmp_path / "model")
    config = json.loads((model / "tokenizer_config.json").read_text()) | {
        "pad_token": None,
        "bos_token": "<|endoftext|>",
    }
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    if spare is None:
        fast = json.loads((model / "tokenizer.json").read_text())
        fast["added_tokens"] = fast["added_tokens"][:1]
        (model / "tokenizer.json").write_text(json.dumps(fast))
    for folder in (model, TINY_MODEL):
        own, course = load_tokenizer_alone(str(folder), PROFILES["tiny"]), load_tokenizer(folder)
        for name in ("all_special_tokens", "chat_template", "eos_token", "bos_token", "pad_token"):
            assert getattr(own, name) == getattr(course, name), name
        assert own.backend_tokenizer.to_str() == course.backend_tokenizer.to_str()
        assert type(own) is type(course)


def test_the_courses_own_files_pass(tokenizer):
    paths = {path for path in Path(ROOT / "shared/data").glob("*.jsonl") if path.name not in PROBLEMS}
    for path in sorted(paths):  # problems have a format of their own: tests/test_problems.py
        told = []
        check_file(path, tokenizer, 256, tell=told.append)
        assert told == [], path.name


NAMES = st.sampled_from(["prompt", "completion", "messages", "text", "role", "content", "id"]) | st.text(max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
FILES = st.binary(max_size=200) | st.lists(VALUES.map(json.dumps), max_size=6).map("\n".join).map(str.encode)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=FILES)
@example(content=b"")
@example(content=b"\x00")
@example(content=b"\xff" * 99)
@example(content=b"null\n[1]\n")
@example(content=b"\r\n\r\n")
def test_no_input_makes_it_crash(content, tmp_path, tokenizer):
    try:
        summary, told = check(tmp_path, content, tokenizer)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert bool(told) == bool(sum(summary.kinds.values())) and str(summary)
