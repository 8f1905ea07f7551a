"""Falcon on today's libraries: what has to be repaired so that it trains as the lesson says.

Its projections are of the class FalconLinear (a linear layer that multiplies and adds in two roundings). bitsandbytes'
integration replaces only modules whose type *is* torch.nn.Linear, so `load_in_4bit=True` quantises nothing, without a
word (transformers 5.5 to 5.23). Falcon's projections have no biases, so a plain Linear does the same arithmetic.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers.models.falcon import modeling_falcon

# The projections of one Falcon layer: attention in (queries, keys, values fused), attention out, MLP in, MLP out.
PROJECTIONS = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]


@contextmanager
def plain_linear_layers() -> Iterator[None]:
    """Models built inside have torch.nn.Linear where Falcon would put FalconLinear, so that they can be quantised.

    Does nothing where transformers has no class of its own any more.
    """
    original = getattr(modeling_falcon, "FalconLinear", None)
    if original is None:
        yield
        return
    modeling_falcon.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = original
