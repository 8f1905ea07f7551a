"""Checkers of the notebooks' exercises, a module for each notebook.

A checker takes the reader's function and says what it makes of it, in one line. An unsolved stub returns None; the checker
then answers "not solved yet", so that the notebook runs through.
"""

from shared.exercises.choosing_lora_hyperparameters import (
    check_matching_rank,
    check_paired_interval,
    check_update_scale,
)
from shared.exercises.falcon_7b_lora import check_lora_parameters, check_merge, check_trained_tokens
from shared.exercises.falcon_from_scratch import check_cache_bytes, check_neighbours_to_halves, check_positions_of
from shared.exercises.fast_and_lean_falcon import check_flops_per_token, check_kept_gib
from shared.exercises.lora_from_scratch import check_enough_rank, check_gradient_of_a, check_lora_forward
from shared.exercises.merging_adapters import check_disk_bytes, check_merge_dora, check_surviving
from shared.exercises.multi_adapter_inference import check_adapters_that_fit, check_rows_of, check_stack
from shared.exercises.peft_methods_compared import (
    check_bottleneck_parameters,
    check_prefix_parameters,
    check_worth_a_look,
)
from shared.exercises.quantization_from_scratch import check_bits_per_weight, check_block_codes, check_pack_codes
from shared.exercises.tokens_and_templates import check_bytes_per_token, check_pad_for_generation, check_showable
from shared.exercises.verdict import SOLVED, UNSOLVED
from shared.exercises.when_training_goes_wrong import check_empty_rows, check_first_difference
from shared.exercises.where_the_memory_goes import check_adapter_bytes, check_logits_gib, check_rows_that_fit

__all__ = [
    "SOLVED",
    "UNSOLVED",
    "check_adapter_bytes",
    "check_adapters_that_fit",
    "check_bits_per_weight",
    "check_block_codes",
    "check_bottleneck_parameters",
    "check_bytes_per_token",
    "check_cache_bytes",
    "check_disk_bytes",
    "check_empty_rows",
    "check_enough_rank",
    "check_first_difference",
    "check_flops_per_token",
    "check_gradient_of_a",
    "check_kept_gib",
    "check_logits_gib",
    "check_lora_forward",
    "check_lora_parameters",
    "check_matching_rank",
    "check_merge",
    "check_merge_dora",
    "check_neighbours_to_halves",
    "check_pack_codes",
    "check_pad_for_generation",
    "check_paired_interval",
    "check_positions_of",
    "check_prefix_parameters",
    "check_rows_of",
    "check_rows_that_fit",
    "check_showable",
    "check_stack",
    "check_surviving",
    "check_trained_tokens",
    "check_update_scale",
    "check_worth_a_look",
]
