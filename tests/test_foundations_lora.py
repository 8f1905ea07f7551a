"""The hand-written layer of LoRA-from-Scratch is PEFT's, and the notebook's own checks notice a layer that is not."""

import pytest

from tests.lessons import chapters, printed, with_mistake


def lesson() -> list[str]:
    """The chapters that build the layer: they need no model."""
    return chapters("01-Foundations/LoRA-from-Scratch.ipynb", "## The layer by hand", "## In a model")


def checked_lines(text: str) -> list[str]:
    """The lines that are the same on every machine: all but the one that measures rounding."""
    return [line for line in text.splitlines() if "came back" not in line]


def test_the_lesson_holds(capsys):
    text = printed(lesson(), capsys)
    assert "equal to PEFT within the tolerance: output" in text
    assert "A and B are PEFT's after ten steps: True" in text
    assert "False" not in text


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
    stored, wrong = checked_lines(printed(lesson(), capsys)), with_mistake(lesson(), *MUTATIONS[name])
    try:
        found = checked_lines(printed(wrong, capsys))
    except (AssertionError, RuntimeError):  # RuntimeError: matrices whose shapes do not fit
        return
    except AttributeError as error:  # a gradient that was never made
        assert "NoneType" in str(error)
        return
    assert found != stored, "no check has noticed"
