"""A pytest plugin that repairs the weak places of nbval 0.11, so that a notebook cannot pass without having run.

Loaded by `-p tests.nbval_guard`. It puts subclasses in the place of nbval's collector, cell and kernel; each override
says which weakness it is there for. Markers, options and reports stay nbval's own, but the kernel is always that of the
current environment.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty
from tempfile import TemporaryDirectory

import pytest
from jupyter_client.provisioning import local_provisioner
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, RunningKernel, start_new_kernel
from nbval.plugin import IPyNbCell, IPyNbFile

from tests.no_network.sitecustomize import NetworkUsed, attempts, forbid
from tests.warm_kernel import Nursery

if os.environ.get("PROFILE") in (None, "", "tiny"):
    os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when a test imports huggingface_hub
NETWORK_LOG = ".network-log"  # in the notebook's output folder
OUTPUT_TIMEOUT = 30  # seconds; nbval's 5 fail a healthy cell on a busy machine


NURSERY, start_cold = Nursery(), local_provisioner.launch_kernel


def start_kernel(command: list[str], **options):
    """In the place of jupyter_client's function: profile tiny's kernels start warm."""
    environment = options.get("env") or {}
    if "NETWORK_LOG" in environment and hasattr(os, "fork"):
        arguments = command[command.index("ipykernel_launcher") + 1 :]
        return NURSERY.fork(arguments, options["cwd"], environment)
    return start_cold(command, **options)


local_provisioner.launch_kernel = start_kernel


class KernelDied(Exception):
    """The kernel's process ended while an answer from it was awaited."""


class Kernel(RunningKernel):
    """A kernel whose death is noticed."""

    def __init__(self, cwd: str, environment: dict[str, str], startup_timeout: float):
        # nbval takes no environment, and the kernel that the notebook names may be one outside this environment.
        self.km, self.kc = start_new_kernel(
            startup_timeout=startup_timeout,
            kernel_name=CURRENT_ENV_KERNEL_NAME,
            stderr=subprocess.DEVNULL,
            cwd=cwd,
            env=environment,
        )
        self._ensure_iopub_up()

    def get_message(self, stream: str, timeout: float | None = None) -> dict:
        """The next message; raises Empty after `timeout` seconds, KernelDied within one second of a death.

        nbval waits for the whole timeout, whether or not there is still a kernel to answer.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            alive = self.is_alive()  # asked first: the last words of a dead kernel are still delivered
            try:
                return super().get_message(stream, timeout=max(0, min(1, deadline - time.monotonic())))
            except Empty:
                if not alive:
                    raise KernelDied from None
                if time.monotonic() >= deadline:
                    raise


class NotebookFile(IPyNbFile):
    """A notebook that runs in an environment and an output folder of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.skip_compare += ("stderr",)  # warnings and progress bars differ from run to run

    def collect(self):
        """Yield the cells that nbval finds, with the checks of NotebookCell."""
        for cell in super().collect():
            yield NotebookCell.from_parent(
                self, name=cell.name, cell_num=cell.cell_num, cell=cell.cell, options=cell.options
            )

    def setup(self) -> None:
        """Start the kernel."""
        self.output_dir = TemporaryDirectory(prefix=f"{self.path.stem}-", ignore_cleanup_errors=True)
        self.kernel = Kernel(
            cwd=str(self.path.parent),
            environment=kernel_environment(os.environ, self.output_dir.name),
            startup_timeout=self.config.option.nbval_kernel_startup_timeout,
        )
        self.setup_sanitize_files()

    def teardown(self) -> None:
        """Stop the kernel and remove what the notebook wrote; an error where it reached for another machine."""
        if hasattr(self.kernel, "km"):  # nbval stops living kernels only, and leaves the dead one's connection file
            self.kernel.stop()
        log = Path(self.output_dir.name) / NETWORK_LOG
        attempts = log.read_text() if log.exists() else ""
        self.output_dir.cleanup()
        if attempts:
            raise NetworkUsed(f"{self.name} reached for the network:\n{attempts}")


class NotebookCell(IPyNbCell):
    """A cell that passes only where it ran to its end and, where it is checked, was compared."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.output_timeout = OUTPUT_TIMEOUT

    def setup(self) -> None:
        """Nothing: nbval marks the cells behind one that timed out as expected to fail, and the run turns green."""

    def runtest(self) -> None:
        """Run and compare the cell."""
        if not self.options["skip"]:
            if self.parent.timed_out:
                self.raise_cell_error("Not run: an earlier cell ran out of time.")
            if not self.parent.kernel.is_alive():
                self.raise_cell_error("Not run: the kernel died in an earlier cell.")
        try:
            super().runtest()
        except KernelDied:
            self.raise_cell_error("The kernel died while it ran this cell, perhaps for lack of memory.")
        if self.options["check"]:
            self._require_reference()

    def _require_reference(self) -> None:
        # nbval compares nothing where no execution count is stored, and is content where nothing was stored or printed.
        if self.cell.execution_count is None:
            self.raise_cell_error("The output of this cell is to be checked, but the stored notebook never ran it.")
        explicitly = not self.parent.compare_outputs  # --nbval checks every cell, --nbval-lax the marked ones
        if explicitly and not _comparable(self.cell.outputs):
            self.raise_cell_error("The output of this cell is to be checked, but the notebook stores none.")

    def compare_outputs(self, test, ref, skip_compare=None) -> bool:
        """Whether new and stored outputs agree, apart from progress displays: nbval sees only their first state."""
        return super().compare_outputs(_without_progress(test), _without_progress(ref), skip_compare)


def _without_progress(outputs: list) -> list:
    return [output for output in outputs if not output.get("metadata", {}).get("progress")]


def _comparable(outputs: list) -> list:
    return [output for output in _without_progress(outputs) if output.get("name") != "stderr"]


def kernel_environment(environment, output_dir: str) -> dict[str, str]:
    """The environment of a notebook under test: profile tiny and no network unless PROFILE names another profile."""
    changed = {**environment, "PROFILE": environment.get("PROFILE") or "tiny", "OUTPUT_DIR": output_dir}
    if changed["PROFILE"] == "tiny":
        changed["HF_HUB_OFFLINE"] = "1"
        changed["NETWORK_LOG"] = str(Path(output_dir) / NETWORK_LOG)
        ban = str(Path(__file__).parent / "no_network")
        changed["PYTHONPATH"] = os.pathsep.join(filter(None, (ban, environment.get("PYTHONPATH"))))
    if int(environment.get("PYTEST_XDIST_WORKER_COUNT", 1)) > 1:
        changed["OMP_NUM_THREADS"] = "1"  # two kernels with a thread for each core slow each other down manyfold
    return changed


def pytest_configure() -> None:
    """No test may reach another machine from its own process."""
    sys.addaudithook(forbid)


@pytest.fixture(autouse=True)
def no_network():
    """Fails a test that reached for the network, also where something swallowed the error."""
    attempts.clear()
    yield
    assert not attempts, "reached for the network: " + "; ".join(attempts)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    """Collect notebooks as NotebookFile where nbval collects them as IPyNbFile."""
    collectors = yield
    return [
        NotebookFile.from_parent(parent, path=file_path) if type(collector) is IPyNbFile else collector
        for collector in collectors
    ]
