"""Run a notebook's own training cells in several processes: `python -m shared.launch NOTEBOOK --config NAME`.

The cells tagged `train` are exported to OUTPUT_DIR/train.py, and that script is started under `accelerate launch` with a
configuration of shared/accelerate. The variables PROFILE, MODEL, DATASET, MAX_STEPS, SEED and OUTPUT_DIR hold as ever. Exit
status: 0 complete, 1 a process failed, 2 asked for what there is not, 130 interrupted.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import yaml
from nbconvert.exporters import PythonExporter

from shared.errors import FAILURES, CourseError
from shared.profile import ROOT, load_profile
from shared.run import RunError, UsageError, kernel_environment, read

CONFIGS = {path.stem: path for path in sorted((ROOT / "shared/accelerate").glob("*.yaml"))}
TAG = "train"
BEFORE = "from shared.worker import begin, finish  # these two cells are of `make train`, those between of the notebook\n\nbegin()"
AFTER = "finish(trainer, profile, {notebook!r})"


def export(path: Path, folder: Path) -> Path:
    """Write the tagged cells of the notebook at `path`, word for word, to `folder`/train.py; returns that path.

    Raises UsageError where no cell is tagged, or one holds what is no Python.
    """
    notebook = read(path)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and TAG in cell.metadata.get("tags", [])]
    if not cells:
        raise UsageError(
            f"No cell of {path} has the tag `{TAG}`: tag those that set up, build the trainer and train, in JupyterLab's "
            "property inspector."
        )
    name = os.path.relpath(path.resolve(), ROOT)
    last = nbformat.v4.new_code_cell(AFTER.format(notebook=name))
    notebook.cells = [nbformat.v4.new_code_cell(BEFORE), *cells, last]
    text, _ = PythonExporter().from_notebook_node(notebook)
    if "get_ipython()" in text:
        line = next(line for line in text.splitlines() if "get_ipython()" in line)
        raise UsageError(
            f"{path}: a cell tagged `{TAG}` has a magic or shell command, which a script cannot run: {line}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "train.py"
    script.write_text(text, encoding="utf-8")
    return script


def configuration(name: str) -> dict:
    """The settings of shared/accelerate/`name`.yaml; raises UsageError where there is none."""
    if name not in CONFIGS:
        raise UsageError(f"CONFIG={name} is unknown: set CONFIG to {', '.join(CONFIGS)}.")
    return yaml.safe_load(CONFIGS[name].read_text(encoding="utf-8"))


def check_gpus(name: str, processes: int) -> None:
    """Raise UsageError where there are fewer GPUs than `processes`."""
    import torch  # takes seconds, and the CPU's configuration does without

    if (gpus := torch.cuda.device_count()) < processes:
        raise UsageError(
            f"CONFIG={name} with {processes} processes needs as many GPUs, and PyTorch sees {gpus}: set NPROC to at most "
            f"{gpus}, or try the code on the CPU with CONFIG=cpu2."
            if gpus
            else f"CONFIG={name} needs a GPU for each of {processes} processes, and PyTorch sees none: CONFIG=cpu2 runs the "
            "same code on the CPU."
        )


def command(script: Path, name: str, processes: int) -> list[str]:
    """What starts `script` in `processes` processes.

    torchrun where accelerate's launcher cannot: several processes on a CPU (it asks for MPI), and a single one of `ddp`.
    """
    settings = configuration(name)
    if settings.get("use_cpu") or (settings["distributed_type"] == "MULTI_GPU" and processes == 1):
        return [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            str(script),
        ]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS[name])]
    return [*launcher, "--num_processes", str(processes), "--main_process_port", "0", str(script)]


def process_environment(name: str, processes: int, environment: dict[str, str]) -> dict[str, str]:
    """`environment` for the launcher: a share of the cores for each process, and no GPU where the CPU was asked for."""
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    changed = environment | {"COURSE_CONFIG": name, "OMP_NUM_THREADS": environment.get("OMP_NUM_THREADS") or threads}
    if configuration(name).get("use_cpu"):
        changed |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    return changed


def start(script: Path, name: str, processes: int, environment: dict[str, str], cwd: Path) -> None:
    """Run `script` to its end. Raises RunError with the words of the process that failed first."""
    with tempfile.TemporaryDirectory() as failures:
        environment = process_environment(name, processes, environment) | {FAILURES: failures}
        running = subprocess.Popen(command(script, name, processes), cwd=cwd, env=environment)
        before = signal.signal(signal.SIGTERM, lambda *_: running.terminate())
        try:
            status = running.wait()
        except KeyboardInterrupt:  # the terminal has told the others, too
            running.wait()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
        left = sorted(Path(failures).iterdir(), key=lambda path: path.stat().st_mtime_ns)
        said = [(path.stem, path.read_text()) for path in left]
    if status:
        why = (
            f"process {said[0][0]} of {processes} failed: {said[0][1]}"
            if said
            else "a process ended without a word of its own: see above, or it was killed, as for lack of memory"
        )
        raise RunError(
            f"{why} (all were stopped). What was saved is in {os.path.relpath(script.parent)}: the same command goes on from "
            "the last complete checkpoint."
        )


def train(path: Path, name: str, processes: int | None) -> None:
    """Export and run the training cells of the notebook at `path`. Raises CourseError, or KeyboardInterrupt after Ctrl-C."""
    settings = configuration(name)
    processes = settings["num_processes"] if processes is None else processes
    if processes < 1:
        raise UsageError(f"NPROC={processes} is not usable: set it to a whole number from 1 up.")
    environment = kernel_environment(path.stem)
    parts = {"LOCAL_RANK": "0", "WORLD_SIZE": str(processes)}
    profile = load_profile(path.stem, environment | parts)  # complains before anything is started
    script = export(path, profile.output_dir)
    if not settings.get("use_cpu"):
        check_gpus(name, processes)
    print(f"{path}: {profile}, {name}, {processes} x {profile.batch_size} examples a step", flush=True)
    start(script, name, processes, environment, path.resolve().parent)


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m shared.launch", description="Train in several processes.")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--config", default="ddp", help=", ".join(CONFIGS))
    parser.add_argument("--processes", type=int, help="as many GPUs are needed; by default the configuration's number")
    options = parser.parse_args(arguments)
    try:
        train(options.notebook, options.config, options.processes)
    except (CourseError, KeyboardInterrupt) as error:
        print(f"error: {error or 'interrupted'}", file=sys.stderr)
        return 1 if isinstance(error, RunError) else 2 if isinstance(error, CourseError) else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
