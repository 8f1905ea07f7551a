"""Numbers within the sentences of a page, taken from receipts: `python -m shared.receipts` writes them anew.

A figure stands between comments that say where it comes from, a receipt's name, a key and a format:
`<!-- = falcon-7b-lora.peak_gib_allocated .1f -->18.3<!-- -->`. Keys within a value follow after dots, a space in a key is
written as `_`; two of them can be joined by ` / ` or ` - `.
"""

import json
import re
from functools import cache

from shared.errors import CourseError
from shared.profile import ROOT

FIGURE = re.compile(r"<!-- = (\S+)(?: ([/-]) (\S+))? ([,.%\w]+) -->(.*?)<!-- -->", re.DOTALL)


class FigureError(CourseError):
    """A figure in a page that no receipt holds."""


@cache
def _receipt(name: str) -> dict:
    found = sorted(ROOT.glob(f"0*-*/results/{name}.json"))
    if len(found) != 1:
        raise FigureError(
            f"{name}: {len(found)} receipts of that name; it has to be that of a file in a results folder."
        )
    return json.loads(found[0].read_text(encoding="utf-8"))


def value(source: str) -> float:
    """The number that `source`, a receipt's name and keys joined by dots, stands for. Raises FigureError."""
    name, *keys = source.split(".")
    found: object = _receipt(name)
    for key in keys:
        written = {each.replace(" ", "_"): each for each in found} if isinstance(found, dict) else {}
        if key not in written:
            raise FigureError(f"{source}: the receipt {name} has no {key}.")
        found = found[written[key]]
    if not isinstance(found, int | float):
        raise FigureError(f"{source} is no number but {found!r}.")
    return found


def fill_figures(text: str) -> str:
    """`text` with every figure written anew."""

    def fill(match: re.Match) -> str:
        first, operator, second, form = match[1], match[2], match[3], match[4]
        number = value(first)
        if operator:
            number = number / value(second) if operator == "/" else number - value(second)
        return match[0].replace(f"-->{match[5]}<!--", f"-->{number:{form}}<!--")

    return FIGURE.sub(fill, text)
