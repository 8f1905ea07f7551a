"""The hand-written layer of LoRA-from-Scratch is PEFT's, and the notebook's own checks notice a layer that is not."""

import nbformat
import pytest

from shared.profile import ROOT

NOTEBOOK = ROOT / "01-Foundations/LoRA-from-Scratch.ipynb"
FIRST, BEHIND = "## The layer by hand", "## In a model"


def lesson() -> list[str]:
    """The imports of the notebook, and the code cells of the chapters that build the layer: they need no model."""
    cells = nbformat.read(NOTEBOOK, 4).cells
    setup = next(cell.source for cell in cells if cell.cell_type == "code")
    imports = [line for line in setup.splitlines() if line.startswith(("import ", "from "))]
    headings = [cell.source if cell.cell_type == "markdown" else "" for cell in cells]
    first = next(i for i, text in enumerate(headings) if text.startswith(FIRST))
    behind = next(i for i, text in enumerate(headings) if text.startswith(BEHIND))
    return ["\n".join(imports), *(cell.source for cell in cells[first:behind] if cell.cell_type == "code")]


def run(sources: list[str], capsys) -> str:
    """What the cells print; raises what they raise."""
    capsys.readouterr()
    namespace: dict[str, object] = {}
    for source in sources:
        exec(source, namespace)
    return capsys.readouterr().out


def checked_lines(printed: str) -> list[str]:
    """The lines that are the same on every machine: all but the one that measures rounding."""
    return [line for line in printed.splitlines() if "came back" not in line]


def test_the_lesson_holds(capsys):
    printed = run(lesson(), capsys)
    assert "equal to PEFT within the tolerance: output" in printed
    assert "A and B are PEFT's after ten steps: True" in printed
    assert "False" not in printed


MUTATIONS = {
    "no scale": ("y + self.scale * (x @ self.A.T)", "y + (x @ self.A.T)"),
    "alpha not divided by the rank": (", alpha / rank, False", ", alpha, False"),
    "scale of rank-stabilised LoRA": (", alpha / rank, False", ", alpha / math.sqrt(rank), False"),
    "A and B swapped": ("(x @ self.A.T) @ self.B.T", "(x @ self.B.T) @ self.A.T"),
    "A and B swapped at the start": ("init.kaiming_uniform_(self.A, a", "init.kaiming_uniform_(self.B, a"),
    "base not frozen": ("base.requires_grad_(False)", "base"),
    "gradient of A without the scale": ('"A": s * (G @ B)', '"A": (G @ B)'),
    "gradient of x without the adapter": ("G @ layer.base.weight + s * (G @ B) @ A", "G @ layer.base.weight"),
    "update without the scale": ("return layer.scale * layer.B @ layer.A", "return layer.B @ layer.A"),
    "merge subtracts": ("layer.base.weight += update_of", "layer.base.weight -= update_of"),
    "unmerge adds": ("layer.base.weight -= update_of", "layer.base.weight += update_of"),
    "merge that does not say so": ("layer.merged = True", "layer.merged = False"),
    "count of one matrix only": ("return rank * (inputs + outputs)", "return rank * inputs"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_variant_is_noticed(name, capsys):
    right, wrong = MUTATIONS[name]
    sources = lesson()
    assert sum(source.count(right) for source in sources) == 1, "the notebook's text has changed: adapt the mutation"
    stored = checked_lines(run(sources, capsys))
    try:
        printed = checked_lines(run([source.replace(right, wrong) for source in sources], capsys))
    except (AssertionError, RuntimeError):  # RuntimeError: matrices whose shapes do not fit
        return
    except AttributeError as error:  # a gradient that was never made
        assert "NoneType" in str(error)
        return
    assert printed != stored, "no check has noticed"
