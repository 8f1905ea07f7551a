"""The last file of a checkpoint: the hashes of all others, so that half a checkpoint or a damaged one is never taken up."""

import hashlib
import json
import os
from pathlib import Path

MANIFEST = "manifest.json"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: dict) -> None:
    """`content` as JSON, on the disk and whole, or not at all."""
    part = path.with_suffix(".part")
    with part.open("w") as file:
        json.dump(content, file, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_manifest(checkpoint: Path, run: str, **more) -> None:
    """Vouch for the files of `checkpoint`: last of all writes their sizes and hashes, and `more`, to its manifest."""
    files = {}
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[str(path.relative_to(checkpoint))] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    write_json(checkpoint / MANIFEST, {"run": run, **more, "files": files})


def saved_by(checkpoint: Path) -> int:
    """The number of processes that saved `checkpoint`."""
    return json.loads((checkpoint / MANIFEST).read_text()).get("processes", 1)


def flaw(checkpoint: Path, run: str) -> str:
    """Why `checkpoint` can't be used by the run of that name; "" if it can."""
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text())
    except (OSError, ValueError):
        return f"it has no {MANIFEST}, so it was not saved to its end"
    if manifest.get("run") != run:
        return "it belongs to another run"
    for name, expected in manifest["files"].items():
        path = checkpoint / name
        if not path.is_file() or path.stat().st_size != expected["bytes"] or _sha256(path) != expected["sha256"]:
            return f"{name} is damaged or missing"
    return ""
