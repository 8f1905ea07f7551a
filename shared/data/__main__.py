"""The course's data: look through a file of your own, or write the demo task's files anew.

    python -m shared.data check FILE [--model NAME] [--max-length N] [--against FILE]
    python -m shared.data make

`check` prints what is wrong, line by line, and a summary; its exit status is 1 where anything was found. Tokens are those
of the current PROFILE's model unless --model names another. `make` writes the same files from the same seeds.
"""

import argparse
import sys
from pathlib import Path

from shared.errors import CourseError


def check(args: argparse.Namespace) -> int:
    """Exit status: 0 where nothing was found, else 1."""
    from shared.data.checker import check_file
    from shared.models import fetch_weights, load_tokenizer
    from shared.profile import load_profile

    try:
        profile = load_profile("check")
        tokenizer = load_tokenizer(args.model or fetch_weights(profile).weights)
        summary = check_file(args.file, tokenizer, args.max_length or profile.max_length, args.against)
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary)
    return int(sum(summary.kinds.values()) > 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m shared.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make", help="write the demo task's files anew")
    checking = commands.add_parser("check", help="look through a data set")
    checking.add_argument("file", type=Path, metavar="FILE")
    checking.add_argument("--model", help="whose tokens are counted: a folder or a name on the Hub")
    checking.add_argument("--max-length", type=int, metavar="N", help="tokens at which examples are cut")
    checking.add_argument("--against", type=Path, metavar="FILE", help="another file: which records are in both?")
    args = parser.parse_args()
    if args.command == "check":
        sys.exit(check(args))
    from shared.data.orders import write_files

    for path in write_files():
        print(path.name)


if __name__ == "__main__":
    main()
