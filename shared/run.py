"""Run a notebook headless, with progress: `python -m shared.run NOTEBOOK [--summary] [--in-place]`.

The executed copy `<OUTPUT_DIR>/<name>.ipynb` is only ever a complete run; one that stops early leaves
`<name>.failed.ipynb`. Exit status: 0 complete, 1 failed, 2 not a notebook, 130 interrupted.
"""

import argparse
import asyncio
import atexit
import json
import math
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError

from shared.errors import CourseError
from shared.profile import ROOT, load_profile
from shared.stored import blemishes, clean, is_run, write

VARIABLES = ("PROFILE", "MODEL", "DATASET", "MAX_STEPS", "SEED", "OUTPUT_DIR")
LOG_INTERVAL = 10  # seconds between two progress lines where a line cannot be rewritten


class UsageError(CourseError):
    """A path that does not lead to a notebook."""


class RunError(CourseError):
    """A notebook that did not run to its end, or whose outputs must not be stored."""


class Screen:
    """Progress of one cell at a time: rewrites the cell's line on a terminal, adds lines to a log."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stdout
        self.width = shutil.get_terminal_size().columns - 12  # leaves room for the time

    def write(self, text: str) -> None:
        """Show `text` at once."""
        print(text, end="", file=self.stream, flush=True)

    def start(self, number: str, title: str) -> None:
        """Begin the line of a cell, such as `[ 7/42] trainer.train() …`."""
        self.number, self.pending = number, None
        self.began, self.shown = time.monotonic(), -math.inf
        self.write(f"{f'{number} {title}'[: self.width]} …")

    def progress(self, text: str) -> None:
        """Show how far the running cell is; in a log not more often than every LOG_INTERVAL seconds."""
        if self.stream.isatty():
            self.write(f"\r\033[K{f'{self.number} {text}'[: self.width]}")
        elif time.monotonic() - self.shown >= LOG_INTERVAL:
            self.write(f"\n{'':{len(self.number)}} {text}")
            self.shown, self.pending = time.monotonic(), None
        else:
            self.pending = text

    def end(self) -> None:
        """End the line of the cell with the seconds that it took."""
        if self.pending:
            self.write(f"\n{'':{len(self.number)}} {self.pending}")
        self.write(f"  {time.monotonic() - self.began:.1f} s\n")


class ThisInterpreter(KernelSpecManager):
    """Offers the interpreter that runs this module, whichever kernels are installed on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The ipykernel of this environment, whatever it is called."""
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class Runner(NotebookClient):
    """Executes a notebook and shows its cells on a Screen. Ctrl-C interrupts the cell, a second one kills it."""

    def __init__(self, notebook: nbformat.NotebookNode, screen: Screen):
        super().__init__(notebook, record_timing=False, store_widget_state=False, iopub_timeout=60)
        self.extra_arguments = ["--log-level=ERROR"]  # no warning that the local sockets are not encrypted
        self.screen = screen
        self.interrupted = False
        self.section = self.shown_section = ""
        self.number, self.count = 0, sum(map(is_run, notebook.cells))
        for cell in notebook.cells:  # a run that stops early must not keep outputs of an older one
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None

    def create_kernel_manager(self) -> AsyncKernelManager:
        """A manager of kernels that run in this interpreter."""
        self.km = AsyncKernelManager(kernel_spec_manager=ThisInterpreter())
        return self.km

    async def async_start_new_kernel(self, **kwargs) -> None:
        """Start the kernel, and answer Ctrl-C from now on (nbclient shuts the kernel down as if it had died)."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        await super().async_start_new_kernel(**kwargs)

    def _interrupt(self) -> None:
        number = signal.SIGKILL if self.interrupted else signal.SIGINT
        self.interrupted = True
        self.signalling = asyncio.ensure_future(self.km.signal_kernel(number))

    async def async_execute_cell(self, cell, cell_index, **kwargs):
        """Execute one cell, with its section's heading, its first line and its time on the screen."""
        if cell.cell_type == "markdown":
            prose = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)
            self.section = [self.section, *re.findall(r"^#{1,6} +(.+)", prose, re.MULTILINE)][-1]
        if not is_run(cell):
            return cell
        if self.interrupted:
            raise DeadKernelError("interrupted between two cells")
        if self.section != self.shown_section:
            self.screen.write(f"{self.section}\n")
            self.shown_section = self.section
        self.number += 1
        code = [line for line in cell.source.splitlines() if line.strip() and not line.startswith(("# NBVAL", "%%"))]
        self.screen.start(f"[{self.number:{len(str(self.count))}}/{self.count}]", code[0] if code else "")
        try:
            return await super().async_execute_cell(cell, cell_index, **kwargs)
        finally:
            self.screen.end()

    def process_message(self, msg, cell, cell_index):
        """Store a message of the kernel in the cell, and show it where it says how far a training is."""
        content = msg["content"]
        if msg["msg_type"] in ("display_data", "update_display_data") and content["metadata"].get("progress"):
            self.screen.progress(content["data"].get("text/plain", ""))
        return super().process_message(msg, cell, cell_index)

    def explain(self, error: Exception) -> str:
        """Why the run stopped: the sentence of a CourseError, or the place and the end of the traceback."""
        place = f"in cell {self.number} of {self.count}" if self.number else "before the first cell"
        place += f" ({self.section})" if self.section else ""
        if self.interrupted:
            return f"interrupted {place}"
        if isinstance(error, DeadKernelError):
            return f"the kernel died {place}, most often for lack of memory: close other programs, or use PROFILE=tiny"
        outputs = [output for cell in self.nb.cells for output in cell.get("outputs", [])]
        if not outputs or outputs[-1].output_type != "error":
            return f"{error}, {place}"
        last = outputs[-1]
        if last.traceback == [f"{last.ename}: {last.evalue}"]:  # how a CourseError renders itself
            return last.evalue
        traceback = re.sub(r"\033\[[0-9;]*m", "", "\n".join(last.traceback)).splitlines()
        return "\n".join([f"{last.ename} {place}", *traceback[-15:]])


def read(path: Path) -> nbformat.NotebookNode:
    """The notebook at `path`; raises UsageError where there is none."""
    if path.suffix != ".ipynb" or not path.is_file():
        known = ", ".join(os.path.relpath(other) for other in sorted(ROOT.glob("[0-9][0-9]-*/*.ipynb")))
        raise UsageError(f"{path} is not a notebook; there are: {known or 'none yet'}.")
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises whatever it stumbles over
        raise UsageError(f"{path} cannot be read as a notebook: {str(error).splitlines()[0][:100]}") from error


def kernel_environment(name: str) -> dict[str, str]:
    """The environment for the kernel of notebook `name`: this one, with paths absolute and empty variables unset.

    The kernel runs in the notebook's folder, the reader typed the paths in this one. MODEL and DATASET stay as they
    are where there is no such path: they may be names on the Hub.
    """
    environment = {key: value for key, value in os.environ.items() if value or key not in VARIABLES}
    for key in {"MODEL", "DATASET"} & environment.keys():
        if (path := Path(environment[key]).expanduser()).exists():
            environment[key] = os.path.abspath(path)
    environment["OUTPUT_DIR"] = os.path.abspath(load_profile(name, environment).output_dir.expanduser())
    return environment


def summary(receipt: dict, executed: Path) -> str:
    """A table of the metric before and after, time, memory and artefacts; paths start from the current folder."""
    rows = []
    for moment in ("before", "after"):
        if metric := (receipt.get("metrics") or {}).get(moment):
            interval = f"95 % interval {metric['low']:.3f} to {metric['high']:.3f}, n = {metric['n']}"
            rows.append((f"{metric['name']} {moment} training", f"{metric['value']:.3f}  ({interval})"))
    if receipt.get("train_s") is not None:
        rows.append(("training time", f"{receipt['train_s']:.0f} s"))
    if receipt.get("peak_gib_allocated") is not None:
        rows.append(("peak memory", f"{receipt['peak_gib_allocated']:.2f} GiB allocated on the GPU"))
    elif receipt.get("peak_rss_gib") is not None:
        rows.append(("peak memory", f"{receipt['peak_rss_gib']:.2f} GiB resident (CPU)"))
    artefacts = {**(receipt.get("artefacts") or {}), "executed notebook": executed.name}
    rows += [(name, os.path.relpath(executed.parent / path)) for name, path in artefacts.items()]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:{width}}  {value}" for label, value in rows)


def run(path: Path, with_summary: bool = False, in_place: bool = False) -> None:
    """Execute the notebook at `path`, as the module says. Raises CourseError, or KeyboardInterrupt after Ctrl-C."""
    notebook = read(path)
    environment = kernel_environment(path.stem)
    executed = Path(environment["OUTPUT_DIR"]) / path.name
    failed = executed.with_name(f"{path.stem}.failed.ipynb")
    print(f"{path}: {load_profile(path.stem, environment)}")
    runner, began = Runner(notebook, Screen()), time.time()
    try:
        asyncio.run(runner.async_execute(cwd=os.path.abspath(path.parent), env=environment))
    except (CellControlSignal, RuntimeError) as error:
        atexit.unregister(runner._cleanup_kernel)  # nbclient leaves it behind where a kernel does not start
        clean(notebook)
        write(notebook, failed)
        print(f"The notebook as far as it ran: {os.path.relpath(failed)}")
        raise (KeyboardInterrupt if runner.interrupted else RunError)(runner.explain(error)) from error
    clean(notebook)
    write(notebook, executed)
    failed.unlink(missing_ok=True)
    if in_place:
        if found := blemishes(notebook, [executed.parent, ROOT, Path.home()]):
            raise RunError(f"{path} stays as it was, its new outputs are not fit to be stored: {'; '.join(found)}.")
        write(notebook, path)
    print(f"Complete after {time.time() - began:.0f} s: {os.path.relpath(executed)}")
    if with_summary:
        receipt = executed.with_name("result.json")
        if not receipt.is_file() or receipt.stat().st_mtime < began - 1:  # clocks of file systems are coarse
            raise RunError(f"{path} ran, but wrote no receipt to {os.path.relpath(receipt)}.")
        print("\n" + summary(json.loads(receipt.read_text()), executed))


def main(arguments: list[str] | None = None) -> int:
    """Run the notebook named on the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m shared.run", description="Run a notebook headless.")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--summary", action="store_true", help="end with the headline numbers of the receipt")
    parser.add_argument("--in-place", action="store_true", help="store the outputs in the notebook itself")
    options = parser.parse_args(arguments)
    try:
        run(options.notebook, options.summary, options.in_place)
    except (CourseError, KeyboardInterrupt) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1 if isinstance(error, CourseError) else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
