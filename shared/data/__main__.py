"""The course's data: look through a file of your own, convert one, or write the files of the course's tasks anew.

    python -m shared.data check FILE [--model NAME] [--max-length N] [--against FILE]
    python -m shared.data convert FILE --out FILE2 [--to messages|prompt-completion] [--drop FIELD ...]
    python -m shared.data make

`check` prints what is wrong, line by line, and a summary; its exit status is 1 where anything was found. Tokens are those
of the current PROFILE's model unless --model names another. `convert` takes Alpaca and ShareGPT records; it stops at what
it does not know, and writes over no file. `make` writes the same files from the same seeds.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shared.data.tokens import complete
from shared.errors import CourseError, WeightsError
from shared.profile import ROOT, Profile, load_profile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check(args: argparse.Namespace) -> int:
    """Exit status: 0 where nothing was found, else 1."""
    from shared.data.checker import check_file
    from shared.data.faults import scan_jsonl

    # Findings quote the file, and a terminal may not know its letters.
    sys.stdout.reconfigure(errors="backslashreplace")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # `shared` switches it off for data loaders that fork; nothing forks
    try:
        for file in filter(None, (args.file, args.against)):
            next(scan_jsonl(file))  # what cannot be read is refused before anything is fetched or takes minutes
        profile = load_profile("check")
        tokenizer = load_tokenizer_alone(args.model, profile)
        summary = check_file(args.file, tokenizer, args.max_length or profile.max_length, args.against)
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary, flush=True)
    return int(sum(summary.kinds.values()) > 0)


def convert(args: argparse.Namespace) -> int:
    """Exit status: 0 where the file was written, else 1."""
    from shared.data.convert import convert_file

    try:
        count = convert_file(args.file, args.out, args.to, args.drop)
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count:,} records written to {args.out}")
    return 0


def load_tokenizer_alone(model: str | None, profile: Profile) -> "PreTrainedTokenizerBase":
    """As `load_tokenizer` of `model` (None: `profile`'s), without PyTorch, whose import takes five seconds and 0.9 GB.

    In a process that has not imported PyTorch yet, it cannot be imported afterwards: transformers would do so. Raises
    WeightsError and DeviceError as fetch_weights and load_tokenizer do.
    """
    # The module itself: its package imports PyTorch.
    spec = importlib.util.spec_from_file_location("shared_models_weights", ROOT / "shared" / "models" / "weights.py")
    weights = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = weights
    spec.loader.exec_module(weights)
    if not model and profile.gpu_gib is not None:
        from shared.gpu import check_device

        check_device(profile)
    found = weights.find_weights(model or profile.model, None if model else profile.revision)
    if found.note:
        print(found.note, file=sys.stderr)
    if "torch" not in sys.modules:  # building the weights of profile small takes it
        sys.modules["torch"] = None
        os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # that there is no PyTorch
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(found.path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"The tokenizer in {model or profile.model} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    complete(tokenizer)
    return tokenizer


def whole_number(text: str) -> int:
    """A number of tokens; raises what argparse ends with, its sentence and exit status 2."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m shared.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make", help="write the files of the course's tasks anew")
    checking = commands.add_parser("check", help="look through a data set")
    checking.add_argument("file", type=Path, metavar="FILE")
    checking.add_argument("--model", help="whose tokens are counted: a folder or a name on the Hub")
    checking.add_argument("--max-length", type=whole_number, metavar="N", help="tokens at which examples are cut")
    checking.add_argument("--against", type=Path, metavar="FILE", help="another file: which records are in both?")
    converting = commands.add_parser("convert", help="Alpaca or ShareGPT records into the course's formats")
    converting.add_argument("file", type=Path, metavar="FILE")
    converting.add_argument("--out", type=Path, metavar="FILE2", required=True, help="a file that is not there yet")
    converting.add_argument("--to", choices=("messages", "prompt-completion"), default="messages")
    converting.add_argument("--drop", nargs="+", default=[], metavar="FIELD", help="fields to leave out")
    args = parser.parse_args()
    if args.command == "convert":
        sys.exit(convert(args))
    if args.command == "check":
        try:
            sys.exit(check(args))
        except KeyboardInterrupt:
            print("Interrupted: the file was not checked to its end.", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:  # the findings went to a program that ended, like head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
    from shared.data.files import write_files

    for path in write_files():
        print(path.name)


if __name__ == "__main__":
    main()
