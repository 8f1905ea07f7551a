"""Every notebook has the course's anatomy and clean stored outputs; every tracked file is fit to be published."""

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from shared.profile import ROOT
from shared.stored import secrets

NOTEBOOKS = sorted(ROOT.glob("0*-*/*.ipynb"))
TOP_LEVEL = {"README.md", "SETUP.md", "LICENSE", "Makefile", "pyproject.toml", "poetry.lock", "shared", "tests"}
SECTIONS = {"01-Foundations", "02-PEFT", "03-Instruction-Tuning", "04-Reasoning-Tuning"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|work|tmp)/[\w.-]+")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


def code_cells(notebook):
    return [cell for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]


def prose(notebook) -> str:
    return "\n".join(cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "markdown")


def test_the_flagship_is_there():
    assert ROOT / "02-PEFT/Falcon-7B-LoRA.ipynb" in NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_headings(self, notebook):
        levels = [len(mark) for mark in re.findall(r"^(#+) ", prose(notebook), re.MULTILINE)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels)), levels

    def test_anatomy(self, notebook):
        headings = re.findall(r"^## (.+)", prose(notebook), re.MULTILINE)
        wanted = [
            "Setup",
            "Configuration",
            "Data",
            "Baseline",
            "Training",
            "After",
            "Invariants",
            "Save",
            "At full scale",
        ]
        if not any(re.search(r"Trainer\(", cell.source) for cell in code_cells(notebook)):
            wanted = ["Setup", "Configuration", "Data", "Invariants", "At full scale"]
        wanted += ["Traps", "Exercises", "Clean-up"]
        found = [next((i for i, heading in enumerate(headings) if heading.startswith(want)), None) for want in wanted]
        assert None not in found and found == sorted(found), dict(zip(wanted, found, strict=True))
        card = prose(notebook).split("\n## ")[0]
        assert "You will be able to" in card and "You need" in card and " table: " in card

    def test_checked_cells_and_exercises(self, notebook):
        cells = code_cells(notebook)
        assert sum("NBVAL_CHECK_OUTPUT" in cell.source for cell in cells) >= 3
        assert 2 <= sum("exercise" in cell.metadata.get("tags", []) for cell in cells) <= 3
        assert not any(re.search(r"NBVAL_SKIP|NBVAL_RAISES|nbval-skip|raises-exception", str(cell)) for cell in cells)

    def test_cells_are_short(self, notebook):
        long = [cell.source.split("\n")[0] for cell in code_cells(notebook) if cell.source.count("\n") > 36]
        assert not long

    def test_stored_outputs_are_one_clean_run(self, notebook):
        cells = code_cells(notebook)
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        outputs = [output for cell in cells for output in cell.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
        assert "widgets" not in nbformat.read(notebook, 4).metadata
        assert notebook.stat().st_size < 500_000
        assert any("image/png" in output.get("data", {}) for output in outputs)
        assert "profile small" in cells[0].outputs[0].text

    def test_every_plot_is_followed_by_a_sentence(self, notebook):
        cells = nbformat.read(notebook, 4).cells
        for cell, following in pairwise(cells):
            if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
                assert following.cell_type == "markdown" and following.source.strip()

    def test_no_device_switch(self, notebook):
        source = "\n".join(cell.source for cell in code_cells(notebook)[1:-1])
        assert not re.search(r"if .*(cuda|profile\.name)", source)


def test_nothing_else_at_the_top_level():
    names = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL | SECTIONS


def test_the_tree_is_small():
    assert sum(path.stat().st_size for path in tracked()) < 25e6
    assert (ROOT / "shared/models/falcon-tiny/model.safetensors").stat().st_size <= 8e6


def test_no_secret_and_no_path_of_a_machine():
    for path in tracked():
        if path.suffix == ".png":  # a picture's texts: who made it, with what
            assert not set(Image.open(path).info) - {"Software", "dpi"}, path
        if path.suffix in (".safetensors", ".png") or path.is_relative_to(ROOT / "tests"):
            continue
        text = path.read_text(encoding="utf-8")
        assert not secrets(text), path
        assert not MACHINE_PATH.search(text), (path, MACHINE_PATH.search(text))


def test_no_pickled_weights_and_no_remote_code():
    for path in tracked():
        assert path.suffix not in (".bin", ".pt", ".pth", ".pkl", ".ckpt"), path
        if path.suffix in (".py", ".ipynb") and path != Path(__file__):
            assert "trust_remote_code=True" not in path.read_text(encoding="utf-8"), path


def test_modules_are_small_and_documented():
    for path in (ROOT / "shared").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 280, path
        assert text.startswith('"""'), path


def test_receipts_are_complete():
    from shared.receipts import KEYS

    receipts = sorted(ROOT.glob("0*-*/results/*.json"))
    assert receipts
    for path in receipts:
        receipt = json.loads(path.read_text(encoding="utf-8"))
        assert not [key for key in KEYS if key not in receipt], path
        assert receipt["name"] == path.stem
        if receipt["metrics"] and not receipt.get("error"):
            assert {"value", "n", "low", "high"} <= set(receipt["metrics"]["before"]) & set(receipt["metrics"]["after"])
            assert receipt["metrics"]["after"]["n"] >= 100
