from itertools import pairwise


def rouge_2(answer: list[str], reference: list[str]) -> float:
    found, wanted = list(pairwise(answer)), list(pairwise(reference))
    common = sum(pair in wanted for pair in found)
    return 2 * common / (len(found) + len(wanted)) if common else 0.0
