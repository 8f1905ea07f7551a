"""Definitions borrowed from a notebook: those asked for, and nothing else of it, is run."""

from dataclasses import dataclass

import nbformat
import pytest
from nbformat import v4

from shared.definitions import definitions
from shared.errors import CourseError
from shared.profile import ROOT


def test_only_what_is_asked_for_is_run(tmp_path):
    cells = [
        "raise RuntimeError('not this')",
        "FACTOR = 3\nprint('nor this')\ndef double(x):\n    return 2 * x",
        "@dataclass(frozen=True)\nclass Pair:\n    a: int\n    def product(self) -> int:\n        return FACTOR * double(self.a)",
        "%matplotlib inline",
    ]
    path = tmp_path / "nb.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells]), path)
    borrowed = definitions(path, ["FACTOR", "double", "Pair"], dataclass=dataclass)
    assert borrowed.Pair(2).product() == 12 and borrowed.double(4) == 8
    with pytest.raises(CourseError, match=r"nb.ipynb defines no triple: its cells have changed"):
        definitions(path, ["double", "triple"])


def test_the_calculator_of_where_the_memory_goes():
    names = ["Shape", "FALCON_7B", "layer_widths", "Run", "standing", "predict"]
    memory = definitions(ROOT / "01-Foundations/Where-the-Memory-Goes.ipynb", names, dataclass=dataclass)
    weights, gradients, states = memory.standing(memory.FALCON_7B, memory.Run("full"))
    assert weights == gradients == states / 2 == 2 * (6_921_720_704 - 66 * 4544)  # norms are not counted
