"""A checkpoint of Falcon-7B's exact shape with random weights: `python -m tests.benchmarks.random_checkpoint FOLDER`.

For runs on `full` where the real weights cannot be had: `MODEL=FOLDER PROFILE=full`. Speed and memory are true, quality
is not, and every receipt says `random_weights`. Takes 14 GB on disk; the tokenizer is falcon-tiny's.
"""

import sys

import torch
from transformers import set_seed

from shared.models import load_tokenizer
from shared.profile import TINY_MODEL
from tests.benchmarks.falcon_7b import FALCON_7B, GPU, random_falcon


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    set_seed(0)
    model = random_falcon(FALCON_7B, quantize=False, device="cuda" if GPU else "cpu")
    model.config.random_weights = True
    model.save_pretrained(sys.argv[1])
    load_tokenizer(TINY_MODEL).save_pretrained(sys.argv[1])
    print(f"{sum(p.numel() for p in model.parameters()):,} random parameters in {sys.argv[1]}, {torch.bfloat16}")


if __name__ == "__main__":
    main()
