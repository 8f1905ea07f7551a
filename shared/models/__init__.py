"""Models of the course: where weights come from, and loading them as asked for."""

from shared.models.falcon import PROJECTIONS
from shared.models.fast_falcon import fast_training
from shared.models.loading import default_dtype, fetch_weights, load_model, load_tokenizer
from shared.models.quantization import quantized_layers

__all__ = [
    "PROJECTIONS",
    "default_dtype",
    "fast_training",
    "fetch_weights",
    "load_model",
    "load_tokenizer",
    "quantized_layers",
]
