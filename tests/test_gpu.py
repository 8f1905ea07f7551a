"""Sentences instead of tracebacks where a device is missing, too small, or full."""

from types import SimpleNamespace

import pytest
import torch
from bitsandbytes import cextension
from trl import SFTConfig

from shared import gpu
from shared.models import fetch_weights, load_model
from shared.profile import TINY_MODEL, load_profile

FULL = load_profile("X", {"PROFILE": "full"})


def pretend(monkeypatch, gib: float = 80.0, capability=(9, 0)) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some card")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=int(gib * 2**30))
    )


def test_profile_full_without_a_gpu_stops_before_any_download(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("shared.models.loading.find_weights", lambda *a: pytest.fail("weights were looked for"))
    with pytest.raises(gpu.DeviceError, match=r"PROFILE=full needs an NVIDIA GPU.*nvidia-smi.*PROFILE=small"):
        fetch_weights(FULL)
    assert gpu.check_device(load_profile("X", {"PROFILE": "full", "MODEL": "x"})) is None


def test_a_gpu_that_is_too_small_is_named_with_both_figures(monkeypatch):
    pretend(monkeypatch, gib=7.8)
    with pytest.raises(gpu.DeviceError, match=f"needs about {FULL.gpu_gib:g} GiB.*has 7.8"):
        gpu.check_device(FULL)
    monkeypatch.setenv("LOCAL_RANK", "0")  # one of several processes, which merge nothing
    assert gpu.check_device(FULL) is None
    monkeypatch.delenv("LOCAL_RANK")
    pretend(monkeypatch, gib=80)
    assert gpu.check_device(FULL) is None


def test_a_bitsandbytes_without_a_library_for_this_cuda_is_named(monkeypatch):
    pretend(monkeypatch)
    monkeypatch.setattr(cextension, "lib", cextension.ErrorHandlerMockBNBNativeLibrary("not found"))
    with pytest.raises(gpu.DeviceError, match=r"no library for CUDA .*poetry.lock.*quantize=None"):
        load_model(TINY_MODEL, quantize="nf4")


def test_a_gpu_too_old_for_4_bit_is_named(monkeypatch):
    pretend(monkeypatch, capability=(5, 2))
    monkeypatch.setattr(cextension, "lib", object())
    with pytest.raises(gpu.DeviceError, match=r"Some card .*5.2.*CUDA_VISIBLE_DEVICES="):
        gpu.check_quantization_support()


def arguments(tmp_path, **changes) -> SFTConfig:
    options = {"max_length": 256, "gradient_checkpointing": True, "bf16": False, "report_to": []}
    return SFTConfig(output_dir=tmp_path, **options | changes)


def test_the_ladder_goes_down_one_rung_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "max_length=512" in gpu.next_rung(arguments(tmp_path, max_length=1024))
    assert "batch_size=4 with gradient_accumulation_steps=2" in gpu.next_rung(arguments(tmp_path))
    single = arguments(tmp_path, per_device_train_batch_size=1)
    assert "gradient_checkpointing=True" in gpu.next_rung(replace_argument(single, gradient_checkpointing=False))
    assert "PROFILE" in gpu.next_rung(single)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "activation_offloading=True" in gpu.next_rung(single)
    assert "PROFILE" in gpu.next_rung(replace_argument(single, activation_offloading=True))


def replace_argument(args: SFTConfig, **changes) -> SimpleNamespace:
    return SimpleNamespace(**{name: getattr(args, name) for name in vars(args)} | changes)


def test_running_out_of_memory_names_peak_allocation_and_next_rung(tmp_path):
    args = arguments(tmp_path)
    with (
        pytest.raises(
            gpu.OutOfMemory, match=r"peak was \d+\.\d\d GiB when the allocation of 2.50 GiB failed. Next: per"
        ),
        gpu.memory_advice(args),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity ...")
    with pytest.raises(gpu.OutOfMemory, match=r"RAM|GPU"), gpu.memory_advice(args):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
    with pytest.raises(gpu.OutOfMemory, match="an allocation failed"), gpu.memory_advice(args):
        raise MemoryError
    with pytest.raises(RuntimeError, match="something else"), gpu.memory_advice(args):
        raise RuntimeError("something else")
