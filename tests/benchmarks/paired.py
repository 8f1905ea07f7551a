"""Differences between runs that answered the same prompts with the same seeds."""

from collections.abc import Mapping, Sequence

from shared.peft_training import seeds_difference


def differences(right: Mapping[str, Mapping[int, Sequence[bool]]], base: str) -> dict[str, dict[str, float]]:
    """For each other name its share of right answers minus that of `base`, over the seeds that both have.

    `right`: by name and seed the outcome of each prompt. A name without a seed in common is left out.
    """
    first, found = right.get(base, {}), {}
    for name, second in right.items():
        if name != base and (seeds := sorted(first.keys() & second.keys())):
            found[name] = seeds_difference([first[seed] for seed in seeds], [second[seed] for seed in seeds])
    return found
