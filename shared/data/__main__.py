"""`python -m shared.data make` writes the demo task's files anew: the same seeds give the same files."""

import argparse

from shared.data.orders import write_files


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.data", description=__doc__)
    parser.add_argument("command", choices=["make"])
    parser.parse_args()
    for path in write_files():
        print(path.name)


if __name__ == "__main__":
    main()
