"""What a GPU run needs, said before minutes are lost, and what to do when memory runs out."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import TrainingArguments

from shared.errors import CourseError
from shared.profile import Profile
from shared.training import peak_memory


class DeviceError(CourseError):
    """A device that cannot do what was asked of it."""


class OutOfMemory(CourseError):
    """Training needed more memory than there is."""


def check_device(profile: Profile) -> None:
    """Raise DeviceError where `profile` asks for a GPU that is not there or too small. Called before any download.

    Several processes (`make train`) merge nothing and share the work: of them only a GPU is asked.
    """
    if profile.gpu_gib is None:
        return
    if not torch.cuda.is_available():
        raise DeviceError(
            f"PROFILE={profile.name} needs an NVIDIA GPU and PyTorch sees none: see whether nvidia-smi lists one with a "
            "driver for CUDA 13, or take PROFILE=small, which needs none."
        )
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    if total < profile.gpu_gib and "LOCAL_RANK" not in os.environ:
        raise DeviceError(
            f"PROFILE={profile.name} needs about {profile.gpu_gib:g} GiB, for the merge in 16 bit, and this GPU has "
            f"{total:.1f}: take PROFILE=small, or a smaller model by MODEL=."
        )


def check_quantization_support() -> None:
    """Raise DeviceError where bitsandbytes cannot work on this machine's GPU. Called before a quantised model is loaded."""
    if not torch.cuda.is_available():
        return
    from bitsandbytes import cextension

    remedy = "install the versions of poetry.lock (make install-peft), or load with quantize=None"
    if isinstance(cextension.lib, cextension.ErrorHandlerMockBNBNativeLibrary):
        raise DeviceError(
            f"bitsandbytes has no library for CUDA {torch.version.cuda}, which PyTorch was built for: {remedy}."
        )
    major, minor = torch.cuda.get_device_capability()
    if major < 6:
        name = torch.cuda.get_device_name()
        raise DeviceError(
            f"{name} (compute capability {major}.{minor}) is older than bitsandbytes' 4-bit kernels (6.0): hide it with "
            "CUDA_VISIBLE_DEVICES= to run on the CPU, or load with quantize=None."
        )


LADDER = (
    "shorter examples (max_length)",
    "a smaller batch with more accumulation",
    "recomputation (gradient_checkpointing)",
    "offloading (activation_offloading)",
    "a smaller PROFILE",
)


def next_rung(args: TrainingArguments) -> str:
    """What to change first, as settings, so that the training with `args` needs less memory."""
    length, batch = getattr(args, "max_length", None), args.per_device_train_batch_size
    if length and length > 512:
        return f"max_length={length // 2}, if the histogram of lengths allows it"
    if batch > 1:
        accumulation = args.gradient_accumulation_steps * 2
        return (
            f"per_device_train_batch_size={batch // 2} with gradient_accumulation_steps={accumulation}: the same step"
        )
    if not args.gradient_checkpointing:
        return "gradient_checkpointing=True: activations are computed twice instead of kept"
    if torch.cuda.is_available() and not getattr(args, "activation_offloading", True):
        return "activation_offloading=True: what is kept waits in the CPU's memory"
    return "a smaller PROFILE, or a smaller model by MODEL="


@contextmanager
def memory_advice(args: TrainingArguments) -> Iterator[None]:
    """Turns running out of memory inside into a sentence: the peak, the allocation that failed, what to change.

    Raises OutOfMemory. Other errors pass.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "can't allocate memory" not in text:
            raise
        kind, peak = peak_memory()
        failed = re.search(r"[Tt]ried to allocate ([\d.]+) (\w+)", text)
        size = (
            ""
            if not failed
            else f"{int(failed[1]) / 2**20:,.0f} MiB"
            if failed[2] == "bytes"
            else " ".join(failed.groups())
        )
        failed = f"the allocation of {size} failed" if failed else "an allocation failed"
        raise OutOfMemory(
            f"Out of {kind} memory: the peak was {peak:.2f} GiB when {failed}. Next: {next_rung(args)}. "
            f"The whole ladder: {'; '.join(LADDER)}."
        ) from None
