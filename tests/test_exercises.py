"""Every exercise: the checker accepts the solution, and rejects the stub and a plausible wrong answer."""

from pathlib import Path

import nbformat
import pytest
import torch

from shared import exercises
from shared.profile import ROOT

SOLUTIONS = Path(__file__).parent / "solutions"
CASES = [
    (notebook, index)
    for notebook in sorted(ROOT.glob("0*-*/*.ipynb"))
    for index, cell in enumerate(nbformat.read(notebook, 4).cells)
    if "exercise" in cell.metadata.get("tags", [])
]


def verdict(notebook, index, source, capsys) -> str:
    """What the checker cell that follows exercise `index` prints with `source` in the exercise's place."""
    cells = nbformat.read(notebook, 4).cells
    checker = next(cell for cell in cells[index + 1 :] if cell.cell_type == "code")
    capsys.readouterr()
    namespace = {"torch": torch, "exercises": exercises}
    exec(source or cells[index].source, namespace)
    exec(checker.source, namespace)
    return capsys.readouterr().out.strip()


def solution(notebook, index, suffix="") -> str:
    name = nbformat.read(notebook, 4).cells[index].source.split("def ", 1)[1].split("(")[0]
    return (SOLUTIONS / notebook.stem / f"{name}{suffix}.py").read_text()


def test_there_are_exercises():
    assert len(CASES) >= 2


@pytest.mark.parametrize(("notebook", "index"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_checker(notebook, index, capsys):
    assert verdict(notebook, index, "", capsys) == exercises.UNSOLVED
    assert verdict(notebook, index, solution(notebook, index), capsys) == exercises.SOLVED
    assert verdict(notebook, index, solution(notebook, index, "_wrong"), capsys).startswith("not right yet")


def test_a_merge_of_the_wrong_shape_gets_a_sentence():
    assert exercises.check_merge(lambda w, a, b, alpha, rank: w + a @ b).startswith("not right yet")
