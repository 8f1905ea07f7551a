"""README and SETUP: links resolve, commands exist, tables are what their receipts say."""

import re
import subprocess

import nbformat
import pytest

from shared.profile import ROOT
from shared.receipts import fill_tables, read_receipts

PAGES = [ROOT / "README.md", ROOT / "SETUP.md", *sorted(ROOT.glob("0*-*/README.md"))]
NOTEBOOKS = sorted(ROOT.glob("0*-*/*.ipynb"))
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
# Shown as examples, not run by a test, each for its reason.
NOT_RUN = {
    "git clone": "the test runs in a clone already",
    "cd ": "same",
    "make demo": "the whole demo on profile small; .ci/run executes the same notebook on tiny",
    "make bench": "takes minutes; tests/test_benchmarks.py runs its code",
    "make lab": "opens a browser and does not end",
    "make test": "this is it",
    "make train": "needs several GPUs or minutes; tests/test_launch.py runs its code",
    "make run": "tests/test_own_data.py runs the notebook on data and models of one's own",
    "make install": "set-up: make test has just done it",
    "make tiny-model": "takes minutes on a GPU; tests/test_tiny.py runs its code for a few steps",
    "make outputs": "rewrites the notebooks",
    "poetry ": "set-up, as make install does it",
    "sudo apt": "changes the machine",
    "export ": "sets a variable of the reader's shell",
    "nvidia-smi": "needs a GPU",
    "PROFILE=": "a notebook's run, see make run",
}


def text(page) -> str:
    if page.suffix == ".ipynb":
        return "\n".join(cell.source for cell in nbformat.read(page, 4).cells if cell.cell_type == "markdown")
    return page.read_text(encoding="utf-8")


def commands(page) -> list[str]:
    blocks = [body for language, body in FENCE.findall(text(page)) if language in ("bash", "sh", "console")]
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.split("#")[0].strip()]


def anchors(page) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text(page))):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_in_step_with_their_receipts(page):
    assert fill_tables(page) == page.read_text(encoding="utf-8"), "run `make tables`"


def test_the_two_commands_come_first():
    assert [line for line in commands(ROOT / "README.md") if line.startswith("make")][:2] == ["make demo", "make test"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_run_or_have_a_reason_not_to(page):
    for command in commands(page):
        if any(command.startswith(prefix) for prefix in NOT_RUN):
            if command.startswith("make "):
                target = command.split()[1]
                dry = subprocess.run(["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True)
                assert dry.returncode == 0, f"{page.name}: make knows no {target}: {dry.stderr}"
        else:
            run = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
            assert run.returncode == 0, f"{page.name}: {command}: {run.stderr}"


def test_make_alone_lists_the_commands():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wanted = (
        "install install-foundations install-peft install-instruction-tuning install-reasoning-tuning install-all demo "
    )
    wanted += "lab run train outputs test test-gpu bench tables tiny-model clean"
    assert not [name for name in wanted.split() if f"make {name} " not in listed]


@pytest.mark.parametrize(
    "target",
    ["install", "install-foundations", "install-peft", "install-instruction-tuning", "install-reasoning-tuning"],
)
def test_each_install_command_installs_its_group(target):
    dry = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    group = target.removeprefix("install").strip("-")
    assert re.search(rf"poetry install .*--with {group} " if group else r"poetry install ", dry), dry


@pytest.mark.parametrize(("version", "word"), [((3, 10), "old"), ((3, 14), "new")])
def test_an_unsuitable_python_gets_one_sentence(tmp_path, version, word):
    fake = tmp_path / "python"
    check = f"import sys; sys.version_info = {(*version, 0, 'final', 0)}; exec(sys.argv[1])"
    fake.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec python3 -c "{check}" "$2"\n')
    fake.chmod(0o755)
    run = subprocess.run(["make", "python", f"PYTHON={fake}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    assert f"Python {version[0]}.{version[1]} is too {word}: the course runs on 3.11 to 3.13." in run.stderr
    assert "Traceback" not in run.stderr


def test_the_figures_in_the_first_lines_are_those_of_the_receipts():
    receipts = {receipt["name"]: receipt for receipt in read_receipts(ROOT / "02-PEFT/results")}
    best, stock = receipts["falcon-7b-qlora-balanced"], receipts["falcon-7b-stock-qlora"]
    front = " ".join(text(ROOT / "README.md").split())
    assert f"{round(best['tokens_per_s'], -2):,.0f} tokens/s in {best['peak_gib_allocated']:.1f} GiB" in front
    assert f"does {round(stock['tokens_per_s'], -2):,.0f} in {stock['peak_gib_allocated']:.0f} GiB" in front
    assert best["peak_gib_allocated"] < stock["peak_gib_allocated"] / 4
