"""Notebooks as files: written in one step, and clean enough for their outputs to be published."""

import getpass
import json
import os
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat

STORED_BYTES = 500_000  # the most a notebook may weigh with its outputs
SECRET = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bAKIA[0-9A-Z]{16}\b"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[\w-]{10,}|\bAIza[\w-]{35}|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}"
    r"|BEGIN [A-Z ]*PRIVATE KEY|\bhttps?://[^/\s:@\"]+:[^/\s:@\"]+@"
)


def is_run(cell: nbformat.NotebookNode) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write `notebook` to `path` in one step: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        nbformat.write(notebook, unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def clean(notebook: nbformat.NotebookNode) -> None:
    """Strip what means nothing outside this run: timings, widgets, the pieces in which a stream arrived."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.kernelspec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata.language_info = {"name": "python"}
    for cell in filter(is_run, notebook.cells):
        cell.metadata.pop("execution", None)
        outputs = []
        for output in cell.outputs:
            if output.output_type == "stream" and outputs and outputs[-1].get("name") == output.name:
                outputs[-1].text += output.text
            elif "application/vnd.jupyter.widget-view+json" not in output.get("data", {}):
                outputs.append(output)
        cell.outputs = outputs


def secrets(text: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What in `text` looks like a token or password, or stands in the environment as one."""
    found = [f"what looks like a secret, {match[0][:7]}..." for match in SECRET.finditer(text)]
    for name, value in environment.items():
        if re.search(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY", name) and len(value) >= 8 and value in text:
            found.append(f"the value of {name}")
    return found


def names(text: str) -> list[str]:
    """Where `text` names this machine or its user, as logs and folders do."""
    known = {"user": getpass.getuser(), "machine": socket.gethostname()}
    common = ("root", "user", "jovyan", "localhost")
    found = {
        what: name for what, name in known.items() if re.search(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", text)
    }
    return [f"the name of this {what}, {name}" for what, name in found.items() if name not in common]


def blemishes(notebook: nbformat.NotebookNode, private: Iterable[Path]) -> list[str]:
    """Why the outputs must not be stored: errors, stderr, secrets, paths under a folder of `private`, too many bytes."""
    folders = "|".join(re.escape(str(path)) for path in private if path != Path(path.anchor))
    paths = re.compile(rf"(?<![\w.])(?:{folders})(?![\w-])")
    found = []
    for number, cell in enumerate(filter(is_run, notebook.cells), start=1):
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"cell {number} writes an error or to stderr: {output.get('text', '').strip()[:200]}")
            data = {kind: data for kind, data in output.get("data", {}).items() if not kind.startswith("image/")}
            text = output.get("text", "") + json.dumps(data, ensure_ascii=False)
            if match := paths.search(text):
                found.append(f"cell {number} shows a path of this machine, {match[0]}")
            found += [f"cell {number} shows {what}" for what in secrets(text) + names(text)]
        found += [f"cell {number} holds {what}" for what in secrets(cell.source + json.dumps(cell.metadata))]
    if (size := len(nbformat.writes(notebook).encode())) > STORED_BYTES:
        found.append(f"the notebook weighs {size / 1000:.0f} kB, more than {STORED_BYTES / 1000:.0f} kB")
    return found
