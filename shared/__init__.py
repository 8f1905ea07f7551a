"""Helpers of the fine-tuning course: what would distract from the lesson if it stood in the notebooks."""

import logging
import os
import warnings

# Set before huggingface_hub and trl are imported: nothing here reports home (TRL pings at every trainer
# construction otherwise), and the tokenizers' thread pool does not warn when a data loader forks.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRACKIO_DISABLED", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # they would stay in the stored notebooks

# bitsandbytes says at every import that an optional kernel package is missing. On a CPU that kernel is for inference
# alone, and this course switches it off (shared.models.quantization.keep_gradients).
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# tqdm asks for widgets, which stored notebooks must not hold; `gradient_checkpointing` gets another name in
# transformers v6, and TRL 1.16 and PEFT 0.21 still use this one.
warnings.filterwarnings("ignore", message="IProgress not found")
warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated", category=FutureWarning)
