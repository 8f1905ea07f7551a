"""Checkers of the notebooks' exercises, a module for each notebook.

A checker takes the reader's function and says what it makes of it, in one line. An unsolved stub returns None; the checker
then answers "not solved yet", so that the notebook runs through.
"""

from shared.exercises.chain_of_thought_tuning import (
    check_equal_token_steps,
    check_faithfulness,
    check_last_tagged_answer,
)
from shared.exercises.choosing_lora_hyperparameters import (
    check_matching_rank,
    check_paired_interval,
    check_update_scale,
)
from shared.exercises.classification import check_expected_calibration_error, check_f1_of_class, check_last_positions
from shared.exercises.data_for_instruction_tuning import (
    check_conversation_labels,
    check_from_sharegpt,
    check_word_similarity,
)
from shared.exercises.evaluating_assistants import check_mcnemar_p, check_prompts_needed, check_wilson_low
from shared.exercises.evaluating_reasoning import check_majority_vote, check_paired_problems_needed, check_unbiased_pass
from shared.exercises.falcon_7b_lora import check_lora_parameters, check_merge, check_trained_tokens
from shared.exercises.falcon_from_scratch import check_cache_bytes, check_neighbours_to_halves, check_positions_of
from shared.exercises.fast_and_lean_falcon import check_flops_per_token, check_kept_gib
from shared.exercises.full_fine_tuning import check_perplexity_factor, check_training_gib
from shared.exercises.grpo_with_verifiable_rewards import (
    check_clipped_loss,
    check_diagnosis,
    check_group_advantages,
)
from shared.exercises.lora_from_scratch import check_enough_rank, check_gradient_of_a, check_lora_forward
from shared.exercises.merging_adapters import check_disk_bytes, check_merge_dora, check_surviving
from shared.exercises.multi_adapter_inference import check_adapters_that_fit, check_rows_of, check_stack
from shared.exercises.peft_methods_compared import (
    check_bottleneck_parameters,
    check_prefix_parameters,
    check_worth_a_look,
)
from shared.exercises.preference_tuning import check_dpo_loss, check_simpo_loss, check_win_rate
from shared.exercises.pretraining_a_tiny_falcon import (
    check_bits_per_byte,
    check_document_numbers,
    check_training_days,
)
from shared.exercises.quantization_from_scratch import check_bits_per_weight, check_block_codes, check_pack_codes
from shared.exercises.reward_design_and_hacking import check_committed, check_is_hacked, check_loudest
from shared.exercises.scaling_out import check_loss_of_all, check_sharded_gib, check_steps_of_an_epoch
from shared.exercises.self_improvement import check_grpo_steps, check_kept_texts, check_samples_needed
from shared.exercises.summarization import check_copied, check_rouge_2, check_unsupported_numbers
from shared.exercises.supervised_instruction_tuning import check_loss_mask, check_noise_bound, check_rows_needed
from shared.exercises.tokens_and_templates import check_bytes_per_token, check_pad_for_generation, check_showable
from shared.exercises.verdict import SOLVED, UNSOLVED
from shared.exercises.when_training_goes_wrong import check_empty_rows, check_first_difference
from shared.exercises.where_the_memory_goes import check_adapter_bytes, check_logits_gib, check_rows_that_fit

__all__ = [
    "SOLVED",
    "UNSOLVED",
    "check_adapter_bytes",
    "check_adapters_that_fit",
    "check_bits_per_byte",
    "check_bits_per_weight",
    "check_block_codes",
    "check_bottleneck_parameters",
    "check_bytes_per_token",
    "check_cache_bytes",
    "check_clipped_loss",
    "check_committed",
    "check_conversation_labels",
    "check_copied",
    "check_diagnosis",
    "check_disk_bytes",
    "check_document_numbers",
    "check_dpo_loss",
    "check_empty_rows",
    "check_enough_rank",
    "check_equal_token_steps",
    "check_expected_calibration_error",
    "check_f1_of_class",
    "check_faithfulness",
    "check_first_difference",
    "check_flops_per_token",
    "check_from_sharegpt",
    "check_gradient_of_a",
    "check_group_advantages",
    "check_grpo_steps",
    "check_is_hacked",
    "check_kept_gib",
    "check_kept_texts",
    "check_last_positions",
    "check_last_tagged_answer",
    "check_logits_gib",
    "check_lora_forward",
    "check_lora_parameters",
    "check_loss_mask",
    "check_loss_of_all",
    "check_loudest",
    "check_majority_vote",
    "check_matching_rank",
    "check_mcnemar_p",
    "check_merge",
    "check_merge_dora",
    "check_neighbours_to_halves",
    "check_noise_bound",
    "check_pack_codes",
    "check_pad_for_generation",
    "check_paired_interval",
    "check_paired_problems_needed",
    "check_perplexity_factor",
    "check_positions_of",
    "check_prefix_parameters",
    "check_prompts_needed",
    "check_rouge_2",
    "check_rows_needed",
    "check_rows_of",
    "check_rows_that_fit",
    "check_samples_needed",
    "check_sharded_gib",
    "check_showable",
    "check_simpo_loss",
    "check_stack",
    "check_steps_of_an_epoch",
    "check_surviving",
    "check_trained_tokens",
    "check_training_days",
    "check_training_gib",
    "check_unbiased_pass",
    "check_unsupported_numbers",
    "check_update_scale",
    "check_wilson_low",
    "check_win_rate",
    "check_word_similarity",
    "check_worth_a_look",
]
