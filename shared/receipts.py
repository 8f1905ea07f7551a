"""Receipts: what was run, on what, and what came out. No number stands in the course without one.

python -m shared.receipts      writes the tables between <!-- table: ... --> markers anew (`make tables`)
"""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch

from shared.errors import CourseError
from shared.evaluation import Score
from shared.figures import fill_figures
from shared.profile import PROFILES, ROOT, Profile
from shared.tables import methods_table, runs_table, scaling_table, speed_table, time_table
from shared.training import peak_rss_gib

KEYS = (
    "name notebook profile method model revision random_weights dataset dataset_sha256 device driver versions commit "
    "date seed batch_size sequence_length accumulation trainable_parameters total_parameters weights_gib "
    "peak_gib_allocated peak_gib_reserved step_s steps tokens_per_s wall_s metrics"
).split()
PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets")


class ReceiptError(CourseError):
    """A receipt, or a table made of receipts, that is not complete."""


def environment() -> dict[str, object]:
    """Device, driver, package versions, commit and time of this process."""
    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else f"CPU, {_cores()} cores, {platform.machine()}",
        "driver": _output("nvidia-smi", "--id=0", "--query-gpu=driver_version", "--format=csv,noheader")
        if gpu
        else None,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)},
        "commit": os.environ.get("COURSE_COMMIT")  # for a copy without its history
        or _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cores() -> int | None:
    """Processors that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def parameter_counts(model: torch.nn.Module) -> dict[str, object]:
    """Trainable and total parameters (a 4-bit weight counts its values, not its bytes) and GiB of all tensors."""
    total = trainable = size = 0
    for parameter in model.parameters():
        shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
        count = shape.numel() if shape else parameter.numel()
        total += count
        trainable += count if parameter.requires_grad else 0
        size += parameter.numel() * parameter.element_size()
    return {
        "trainable_parameters": trainable,
        "total_parameters": total,
        "weights_gib": round(size / 2**30, 4),
    }


def write_receipt(profile: Profile, notebook: str, metrics: dict[str, Score | object], **measured: object) -> dict:
    """Write `result.json` of this run into the profile's output folder and return what it holds.

    `metrics` holds Scores or plain values. Raises ReceiptError if a key of the design is missing.
    """
    gpu, model = torch.cuda.is_available(), Path(profile.model).name.lower()
    usual = profile.is_standard_run or model == Path(PROFILES[profile.name].model).name.lower()
    receipt = {
        "name": f"{Path(notebook).stem}-{profile.name}" + ("" if usual else f"-{model}"),
        "notebook": notebook,
        "profile": profile.name,
        "model": Path(profile.model).name if profile.weights_source == "folder" else profile.model,
        "revision": profile.revision,
        "weights_source": profile.weights_source,
        "random_weights": is_random(profile),
        "seed": profile.seed,
        "peak_gib_allocated": round(torch.cuda.max_memory_allocated() / 2**30, 3) if gpu else None,
        "peak_rss_gib": round(peak_rss_gib(), 2),
        "peak_gib_reserved": round(torch.cuda.max_memory_reserved() / 2**30, 3) if gpu else None,
        "wall_s": round(time.time() - psutil.Process().create_time(), 1),  # of the process, imports included
        **environment(),
        **measured,
        "metrics": {name: value.as_dict() if isinstance(value, Score) else value for name, value in metrics.items()},
    }
    if missing := [key for key in KEYS if key not in receipt]:
        raise ReceiptError(f"The receipt of {notebook} lacks {', '.join(missing)}: pass them to write_receipt.")
    profile.output_dir.mkdir(parents=True, exist_ok=True)
    write_text(profile.output_dir / "result.json", json.dumps(receipt, indent=2, default=str) + "\n")
    return receipt


def is_random(profile: Profile) -> bool:
    """True where the model's config.json says `"random_weights": true`: a checkpoint made for timing alone."""
    config = Path(profile.weights or profile.model) / "config.json"
    return config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("random_weights") is True


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: there is never half of it under its name."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def read_receipts(folder: Path) -> list[dict]:
    """All receipts in `folder`, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


TABLES = {
    "table": runs_table,
    "speed table": speed_table,
    "time table": time_table,
    "methods table": methods_table,
    "scaling table": scaling_table,
}
MARKER = re.compile(rf"(<!-- ({'|'.join(TABLES)}): (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def fill_tables(page: Path) -> str:
    """The text of `page`, a Markdown file or a notebook, with every marked table and figure made anew from receipts.

    A marker says which kind of table and names the receipts by globs from the top of the repository, joined by commas.
    Raises ReceiptError if there are none.
    """

    def fill(match: re.Match) -> str:
        paths = sorted(path for pattern in match[3].split(",") for path in ROOT.glob(pattern))
        if not paths:
            raise ReceiptError(f"{page.name}: no receipt matches {match[3]}; correct the marker.")
        receipts = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        return f"{match[1]}\n{TABLES[match[2]](receipts)}\n\n{match[4]}"

    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return fill_figures(MARKER.sub(fill, text))
    import nbformat  # takes two seconds, and notebooks import this module

    notebook = nbformat.reads(text, 4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = fill_figures(MARKER.sub(fill, cell.source))
    return nbformat.writes(notebook) + "\n"


def main() -> None:
    for page in [ROOT / "README.md", *sorted(ROOT.glob("0*-*/README.md")), *sorted(ROOT.glob("0*-*/*.ipynb"))]:
        write_text(page, fill_tables(page))
        print(f"{page.relative_to(ROOT)} is in step with its receipts")


def _installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        sys.exit(f"error: {error}")
