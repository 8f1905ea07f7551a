"""nbval is awake: notebooks that are stale, dead, stuck or never ran do not pass."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from tests.nbval_guard import kernel_environment
from tests.no_network.sitecustomize import NetworkUsed, attempts

ROOT = Path(__file__).resolve().parents[1]
CHECK = "# NBVAL_CHECK_OUTPUT\n"
PROGRESS = """\
bar = display({"text/plain": "step 0/2"}, raw=True, display_id=True, metadata={"progress": True})
bar.update({"text/plain": "step 2/2"}, raw=True, metadata={"progress": True})
"""
STDOUT_TWO = v4.new_output("stream", text="2\n")


def cell(source, *outputs, count=1):
    return v4.new_code_cell(source, outputs=list(outputs), execution_count=count)


NOTEBOOKS = {
    "untouched": [
        cell(CHECK + "print(1 + 1)", STDOUT_TWO),
        cell("print(1 + 1)", v4.new_output("stream", text="an altered output that nobody checks\n")),
        cell(
            CHECK + "import sys\nprint(1 + 1)\nprint('chatter', file=sys.stderr)\n" + PROGRESS,
            STDOUT_TWO,
            v4.new_output("display_data", {"text/plain": "step 2/2"}, metadata={"progress": True}),
        ),
        cell(
            "import os\n"
            "assert os.environ['PROFILE'] == 'tiny' and os.environ['HF_HUB_OFFLINE'] == '1'\n"
            "assert os.environ['OMP_NUM_THREADS'] == '1'\n"
            "assert os.listdir(os.environ['OUTPUT_DIR']) == []\n"
            f"assert sys.prefix == {sys.prefix!r}"
        ),
    ],
    "stale": [
        cell(CHECK + "print(1 + 1)", v4.new_output("stream", text="3\n")),
        cell(CHECK + "print(1 + 1)", STDOUT_TWO),
        cell(CHECK + "print(1 + 1)", count=None),
        cell(CHECK + "pass"),
        cell(
            CHECK + PROGRESS,
            v4.new_output("display_data", {"text/plain": "step 2/2"}, metadata={"progress": True}),
        ),
    ],
    "exit": [cell("import os"), cell("os._exit(1)"), cell("1 + 1")],
    "phone": [
        cell(
            "import urllib.request\n"
            "try:\n    urllib.request.urlopen('http://192.0.2.1', timeout=1)\nexcept OSError:\n    pass"
        ),
        cell(
            "import socket\nwith socket.create_server(('127.0.0.1', 0)) as s:\n"
            "    socket.create_connection(s.getsockname()).close()"
        ),
    ],
    "killed": [cell("import os, signal"), cell("os.kill(os.getpid(), signal.SIGKILL)"), cell("1 + 1")],
}


def write_notebook(path, cells):
    # A kernel that exists nowhere: the guard is to run the current interpreter all the same.
    metadata = {"kernelspec": {"name": "elsewhere", "display_name": "Elsewhere"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), path)


def run_pytest(folder, *options):
    """Each cell's outcome by "notebook::Cell n", beside the exit "status" and the "output"."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "OMP"))}
    environment |= {"PYTHONPATH": str(ROOT), "PROFILE": ""}
    command = [sys.executable, "-m", "pytest", "-p", "tests.nbval_guard", "-p", "no:cacheprovider", "-rA"]
    process = subprocess.run(
        [*command, "--color=no", "--nbval-lax", *options, "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,  # less than the 600 s of a cell: a dead kernel that used them up would show
    )
    outcomes = re.findall(r"^([A-Z]+) (?:\[\d+\] )?(\w+)\.ipynb::(Cell \d+)", process.stdout, re.MULTILINE)
    return {
        **{f"{notebook}::{name}": outcome for outcome, notebook, name in outcomes},
        "status": process.returncode,
        "output": process.stdout + process.stderr,
    }


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """All NOTEBOOKS, run as `make test` runs the course."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name, cells in NOTEBOOKS.items():
        write_notebook(folder / f"{name}.ipynb", cells)
    return run_pytest(folder, "--nbval-cell-timeout=600", "-n", "2", "--dist", "loadfile")


def outcomes(result, notebook):
    return [result.get(f"{notebook}::Cell {number}") for number in range(len(NOTEBOOKS[notebook]))]


def test_untouched_notebook_passes(result):
    assert outcomes(result, "untouched") == ["PASSED"] * 4, result["output"]


def test_altered_checked_output_fails_alone(result):
    assert outcomes(result, "stale")[:2] == ["FAILED", "PASSED"], result["output"]
    assert result["status"] == 1


def test_checked_cell_without_reference_fails(result):
    assert outcomes(result, "stale")[2:] == ["FAILED"] * 3, result["output"]
    assert "the stored notebook never ran it" in result["output"]
    assert "the notebook stores none" in result["output"]


@pytest.mark.parametrize("notebook", ["exit", "killed"])
def test_dead_kernel_fails_its_cell_and_the_later_ones(result, notebook):
    assert outcomes(result, notebook) == ["PASSED", "FAILED", "FAILED"], result["output"]
    assert "The kernel died while it ran this cell" in result["output"]
    assert "Not run: the kernel died in an earlier cell" in result["output"]


def test_a_notebook_that_reaches_for_the_network_fails_the_run_even_where_it_hides_that(result):
    assert outcomes(result, "phone") == ["PASSED", "ERROR"], result["output"]  # said when the notebook has ended
    assert "phone.ipynb reached for the network:\nE" in result["output"]
    assert "socket.getaddrinfo to 192.0.2.1" in result["output"]


def test_a_test_cannot_reach_another_machine():
    for reach in (
        lambda: socket.create_connection(("192.0.2.1", 80), 1),
        lambda: socket.getaddrinfo("example.com", 80),
    ):
        with pytest.raises(NetworkUsed, match="no network here"):
            reach()
    assert len(attempts) == 2
    attempts.clear()  # else this test would fail for having tried


def test_timed_out_cell_fails_the_run(tmp_path):
    write_notebook(tmp_path / "slow.ipynb", [cell("import time\ntime.sleep(60)"), cell("1 + 1")])
    result = run_pytest(tmp_path, "--nbval-cell-timeout=1")
    assert result["status"] == 1
    assert [result["slow::Cell 0"], result["slow::Cell 1"]] == ["FAILED", "FAILED"], result["output"]
    assert "Timeout of 1 seconds exceeded" in result["output"]
    assert "xfailed" not in result["output"]


def test_profile_other_than_tiny_may_use_the_network():
    assert kernel_environment({"PROFILE": "full"}, "out") == {"PROFILE": "full", "OUTPUT_DIR": "out"}
