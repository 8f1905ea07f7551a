"""Exercises of 03-Instruction-Tuning/Summarization."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_copied(function: Callable[[list[str], list[str], int], float]) -> str:
    """`function(summary, source, length)` -> the share of the summary's runs of `length` words that stand in the source."""
    source = "we sold seven lamps and one red chair today".split()
    cases = [
        (("we sold seven lamps".split(), source, 2), 1.0),
        (("seven sold we lamps".split(), source, 2), 0.0),  # all its words, and none of its runs
        (("we sold seven lamps and one red kettle".split(), source, 3), 5 / 6),
        (("sold lamps".split(), source, 4), 0.0),  # too short for a run
        (("one red chair one red kettle".split(), source, 2), 3 / 5),  # each run counts, met before or not
    ]
    return judge(function, cases, tolerance=1e-6)


def check_rouge_2(function: Callable[[list[str], list[str]], float]) -> str:
    """`function(answer, reference)` -> ROUGE-2's F: pairs of neighbours in common, none counted more often than it is there."""
    reference = "porto sold nine lamps".split()
    cases = [
        ((reference, reference), 1.0),
        (("porto sold lamps".split(), reference), 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)),
        (("lamps nine sold porto".split(), reference), 0.0),
        (("porto sold porto sold porto sold".split(), reference), 2 * (1 / 5) * (1 / 3) / (1 / 5 + 1 / 3)),
        (("porto".split(), reference), 0.0),
    ]
    return judge(function, cases, tolerance=1e-6)


def check_unsupported_numbers(function: Callable[[str, str, dict[str, int]], list[str]]) -> str:
    """`function(summary, source, number_words)` -> the summary's numbers, in order, that the source does not hold."""
    number_words = {"three": 3, "seven": 7, "thirteen": 13}
    cases = [
        (("Porto sold 13 lamps.", "We sold 13 lamps.", number_words), []),
        (("Porto sold 3 lamps.", "We sold 13 lamps.", number_words), ["3"]),
        (("Porto sold 13 lamps. It needs 8 tents.", "Thirteen lamps went out.", number_words), ["8"]),
        (("It needs 40 or 7 or 3.", "Send us seven, please, by 4.", number_words), ["40", "3"]),
        (("It needs tents.", "Send tents.", number_words), []),
    ]
    return judge(function, cases)
