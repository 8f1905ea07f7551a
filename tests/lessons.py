"""Code cells of a notebook's chapters, to be run, and run with a mistake in them, without the rest of the notebook."""

from collections.abc import Sequence

import nbformat

from shared.profile import ROOT


def chapters(notebook: str, first: str, behind: str, constants: tuple[str, ...] = ()) -> list[str]:
    """The imports of a notebook, its lines that begin with one of `constants`, and the code cells between two headings.

    `notebook`: its path from the top of the repository. `first` and `behind`: the beginnings of the headings.
    """
    cells = nbformat.read(ROOT / notebook, 4).cells
    setup = next(cell.source for cell in cells if cell.cell_type == "code")
    lines = [line for line in setup.splitlines() if line.startswith(("import ", "from "))]
    if constants:
        lines += [line for cell in cells for line in cell.source.splitlines() if line.startswith(constants)]
    headings = [f"\n{cell.source}" if cell.cell_type == "markdown" else "" for cell in cells]
    start, end = (next(i for i, text in enumerate(headings) if f"\n{heading}" in text) for heading in (first, behind))
    return ["\n".join(lines), *(cell.source for cell in cells[start:end] if cell.cell_type == "code")]


def with_mistake(sources: Sequence[str], right: str, wrong: str) -> list[str]:
    """`sources` with `wrong` in place of `right`, which has to stand in them once."""
    assert sum(source.count(right) for source in sources) == 1, "the notebook's text has changed: adapt the mutation"
    return [source.replace(right, wrong) for source in sources]


def printed(sources: Sequence[str], capsys, **names) -> str:
    """What `sources` print, run one after the other with `names` defined; raises what they raise."""
    capsys.readouterr()
    for source in sources:
        exec(source, names)
    return capsys.readouterr().out
