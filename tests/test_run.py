"""Headless runs: what they print, what they write, and how they fail."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from shared import run
from shared.profile import ROOT

PROGRESS = """\
bar = display({"text/plain": "step 0/2"}, raw=True, display_id=True, metadata={"progress": True})
bar.update({"text/plain": "step 1/2"}, raw=True, metadata={"progress": True})
bar.update({"text/plain": "step 2/2"}, raw=True, metadata={"progress": True})
"""
RECEIPT = {
    "metrics": {
        "before": {"name": "exact match", "value": 0.03, "n": 100, "low": 0.01, "high": 0.085},
        "after": {"name": "exact match", "value": 0.93, "n": 100, "low": 0.862, "high": 0.966},
    },
    "train_s": 112.6,
    "peak_rss_gib": 2.125,
    "peak_gib_allocated": None,
    "artefacts": {"adapter": "adapter"},
}


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder to type commands in, with a folder for notebooks, and an environment without the course's variables."""
    for variable in run.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OUTPUT_DIR", "out")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "01-Part").mkdir()
    return tmp_path


def write_notebook(path, *cells):
    """A notebook of code cells, and of markdown cells where the text is a heading."""
    make = {True: v4.new_markdown_cell, False: v4.new_code_cell}
    nbformat.write(v4.new_notebook(cells=[make[cell.startswith("## ")](cell) for cell in cells]), path)
    return str(path.relative_to(Path.cwd()))


def outputs(path, number):
    """The outputs of the cell with this execution count."""
    return next(c.outputs for c in nbformat.read(path, 4).cells if c.get("execution_count") == number)


def test_complete_run(course, monkeypatch, capsys):
    (course / "orders.jsonl").touch()
    monkeypatch.setenv("DATASET", "orders.jsonl")
    monkeypatch.setenv("MODEL", "owner/name")
    monkeypatch.setenv("MAX_STEPS", "")
    path = write_notebook(
        course / "01-Part" / "lesson.ipynb",
        "## Set-up\n```python\n# a comment, not a heading\n```",
        "import json, os, sys\nprint('one')",
        "print('two'); print('three')\nsys.stdout.flush(); print('four')",
        "## Training",
        f"# NBVAL_CHECK_OUTPUT\n{PROGRESS}",
        "known = ['DATASET', 'MODEL', 'MAX_STEPS', 'OUTPUT_DIR']\n"
        "seen = {'cwd': os.getcwd(), 'python': sys.prefix, **{key: os.environ.get(key) for key in known}}\n"
        "os.makedirs(os.environ['OUTPUT_DIR'], exist_ok=True)\n"
        f"json.dump({RECEIPT!r} | {{'seen': seen}}, open(os.environ['OUTPUT_DIR'] + '/result.json', 'w'))",
    )
    assert run.main([path, "--in-place", "--summary"]) == 0

    printed = capsys.readouterr()
    assert printed.err == ""
    lines = re.sub(r"  \d+\.\d s$", "", printed.out, flags=re.MULTILINE).splitlines()
    assert lines[0].startswith("01-Part/lesson.ipynb: profile small, model owner/name")
    assert lines[1:4] == ["Set-up", "[1/4] import json, os, sys …", "[2/4] print('two'); print('three') …"]
    assert lines[4] == "Training"
    assert lines[5].startswith("[3/4] bar = display(")
    assert lines[6:8] == ["      step 0/2", "      step 2/2"]
    assert printed.out.endswith(
        "\n\n"
        "exact match before training  0.030  (95 % interval 0.010 to 0.085, n = 100)\n"
        "exact match after training   0.930  (95 % interval 0.862 to 0.966, n = 100)\n"
        "training time                113 s\n"
        "peak memory                  2.12 GiB resident (CPU)\n"
        "adapter                      out/adapter\n"
        "executed notebook            out/lesson.ipynb\n"
    )

    seen = json.loads((course / "out" / "result.json").read_text())["seen"]
    assert seen == {
        "cwd": str(course / "01-Part"),
        "python": sys.prefix,
        "DATASET": str(course / "orders.jsonl"),
        "MODEL": "owner/name",
        "MAX_STEPS": None,
        "OUTPUT_DIR": str(course / "out"),
    }

    assert (course / path).read_text() == (course / "out" / "lesson.ipynb").read_text()
    stored = nbformat.read(course / path, 4)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4]
    assert code[1].outputs == [{"output_type": "stream", "name": "stdout", "text": "two\nthree\nfour\n"}]
    assert code[2].outputs == [
        {"output_type": "display_data", "data": {"text/plain": "step 2/2"}, "metadata": {"progress": True}}
    ]
    assert all(cell.metadata == {} for cell in stored.cells)
    assert stored.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def test_outputs_unfit_to_be_stored_leave_the_notebook_as_it_was(course, capsys):
    source = "import os, sys\nprint('chatter', file=sys.stderr)\nos.environ['OUTPUT_DIR']"
    path = write_notebook(course / "01-Part" / "lesson.ipynb", source)
    before = (course / path).read_bytes()
    assert run.main([path, "--in-place"]) == 1
    error = capsys.readouterr().err
    assert "cell 1 writes an error or to stderr: chatter" in error
    assert f"cell 1 shows a path of this machine, {course / 'out'}" in error
    assert (course / path).read_bytes() == before
    assert outputs(course / "out" / "lesson.ipynb", 1)[0].text == "chatter\n"


def test_exception_names_the_place_and_keeps_the_failed_copy(course, capsys):
    (course / "out").mkdir()
    (course / "out" / "lesson.ipynb").write_text("the last complete run")
    path = write_notebook(course / "01-Part" / "lesson.ipynb", "## Arithmetic", "print(2)", "{'a': 1}['b']", "3")
    assert run.main([path]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: KeyError in cell 2 of 3 (Arithmetic)\n")
    assert printed.err.endswith("KeyError: 'b'\n")
    assert "\033" not in printed.err
    assert "out/lesson.failed.ipynb" in printed.out
    assert outputs(course / "out" / "lesson.failed.ipynb", 1)[0].text == "2\n"
    assert (course / "out" / "lesson.ipynb").read_text() == "the last complete run"
    assert sorted(os.listdir(course / "out")) == ["lesson.failed.ipynb", "lesson.ipynb"]


def test_course_error_is_one_sentence(course, capsys):
    source = "from shared.errors import DataError\nraise DataError('orders.jsonl, line 3: no prompt.')"
    path = write_notebook(course / "01-Part" / "lesson.ipynb", source)
    assert run.main([path]) == 1
    assert capsys.readouterr().err == "error: orders.jsonl, line 3: no prompt.\n"


def test_dead_kernel(course, capsys):
    path = write_notebook(course / "01-Part" / "lesson.ipynb", "## Training", "import os", "os._exit(1)", "1")
    assert run.main([path]) == 1
    assert capsys.readouterr().err.startswith("error: the kernel died in cell 2 of 3 (Training)")
    assert (course / "out" / "lesson.failed.ipynb").is_file()


def test_interrupt(course):
    # The cell announces itself with a file, because its line on the screen comes before the kernel has it.
    path = write_notebook(course / "01-Part" / "lesson.ipynb", "open('started', 'w')\nimport time\ntime.sleep(50)", "1")
    process = subprocess.Popen([sys.executable, "-m", "shared.run", path], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 40
    while not (course / "01-Part" / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=40)
    assert (process.returncode, error) == (130, "error: interrupted in cell 1 of 2\n")
    assert (course / "out" / "lesson.failed.ipynb").is_file()


def test_what_is_not_a_notebook(course, monkeypatch, capsys):
    known = write_notebook(course / "01-Part" / "lesson.ipynb", "1")
    monkeypatch.setattr(run, "ROOT", course)
    assert run.main(["01-Part/lessen.ipynb"]) == 2
    assert capsys.readouterr().err == f"error: 01-Part/lessen.ipynb is not a notebook; there are: {known}.\n"
    for content in ("<<<<<<< HEAD\n{}", "{}", "[]", ""):
        (course / "broken.ipynb").write_text(content)
        assert run.main(["broken.ipynb"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: broken.ipynb cannot be read as a notebook: ")
        assert error.count("\n") == 1


def test_unknown_profile_is_one_sentence(course, monkeypatch, capsys):
    monkeypatch.setenv("PROFILE", "huge")
    path = write_notebook(course / "01-Part" / "lesson.ipynb", "1")
    assert run.main([path]) == 1
    assert capsys.readouterr().err.startswith("error: PROFILE=huge is unknown")


def test_output_dir_of_the_course_is_at_its_root(course, monkeypatch):
    monkeypatch.delenv("OUTPUT_DIR")
    assert run.kernel_environment("lesson")["OUTPUT_DIR"] == str(ROOT / "runs" / "lesson")


def test_terminal_rewrites_one_line():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = run.Screen(Terminal())
    screen.start("[1/1]", "trainer.train()")
    screen.progress("step 1/2")
    screen.progress("step 2/2")
    screen.end()
    *lines, last = screen.stream.getvalue().split("\r\033[K")
    assert lines == ["[1/1] trainer.train() …", "[1/1] step 1/2"]
    assert last.startswith("[1/1] step 2/2  ")
    assert last.endswith(" s\n")


def notebook_showing(**data):
    output = v4.new_output("display_data", data={key.replace("_", "/"): value for key, value in data.items()})
    return v4.new_notebook(cells=[v4.new_code_cell("show()", outputs=[output])])


@pytest.mark.parametrize(
    ("data", "fit"),
    [
        ({"text_plain": "kept in /home/ada/course"}, False),
        ({"text_html": '<a href="/home/ada">'}, False),
        ({"text_plain": "https://example.org/home/ada and /home/adam"}, True),
        ({"image_png": "iVBO/home/ada/Rw0KGgo="}, True),  # base64 may spell anything
        ({"text_plain": "logged in with hf_" + 34 * "a"}, False),
        ({"text_plain": "Authorization: sk-proj-" + 30 * "b"}, False),
        ({"text_plain": "https://ada:secret@example.org/simple"}, False),
        ({"text_plain": "-----BEGIN OPENSSH PRIVATE KEY-----"}, False),
        ({"text_plain": "the password is correct-horse-battery"}, False),  # see the environment below
        ({"text_plain": "events.out.tfevents.17.ada-laptop.0"}, False),
        ({"text_plain": "task-force, risk-free, https://example.org:8080/a@b"}, True),
        ({"text_plain": "x" * 499_000}, True),
        ({"text_plain": "x" * 500_000}, False),
    ],
)
def test_blemishes(data, fit, monkeypatch):
    monkeypatch.setitem(os.environ, "DATABASE_PASSWORD", "correct-horse-battery")
    monkeypatch.setattr("socket.gethostname", lambda: "ada-laptop")
    assert (run.blemishes(notebook_showing(**data), [Path("/home/ada"), Path("/")]) == []) is fit


def test_widgets_are_not_stored():
    widget = {"text_plain": "IntProgress(value=0)", "application_vnd.jupyter.widget-view+json": {"model_id": "1"}}
    notebook = notebook_showing(**widget)
    notebook.metadata.widgets = {"state": {}}
    notebook.cells[0].metadata = {"execution": {"idle": "2026"}, "tags": ["exercise"]}
    run.clean(notebook)
    assert notebook.cells[0].outputs == []
    assert notebook.cells[0].metadata == {"tags": ["exercise"]}
    assert "widgets" not in notebook.metadata


def test_summary_says_which_memory():
    receipt = {"peak_gib_allocated": 7.61, "peak_rss_gib": 3.2}
    assert "7.61 GiB allocated on the GPU" in run.summary(receipt, Path("out/lesson.ipynb"))
