"""Checkers of the notebooks' exercises, a module for each notebook.

A checker takes the reader's function and says what it makes of it, in one line. An unsolved stub returns None; the checker
then answers "not solved yet", so that the notebook runs through.
"""

from shared.exercises.falcon_7b_lora import check_lora_parameters, check_merge, check_trained_tokens
from shared.exercises.fast_and_lean_falcon import check_flops_per_token, check_kept_gib
from shared.exercises.verdict import SOLVED, UNSOLVED
from shared.exercises.when_training_goes_wrong import check_empty_rows, check_first_difference

__all__ = [
    "SOLVED",
    "UNSOLVED",
    "check_empty_rows",
    "check_first_difference",
    "check_flops_per_token",
    "check_kept_gib",
    "check_lora_parameters",
    "check_merge",
    "check_trained_tokens",
]
