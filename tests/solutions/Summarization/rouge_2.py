from collections import Counter
from itertools import pairwise


def rouge_2(answer: list[str], reference: list[str]) -> float:
    found, wanted = Counter(pairwise(answer)), Counter(pairwise(reference))
    common = sum((found & wanted).values())
    if not common:
        return 0.0
    precision, recall = common / sum(found.values()), common / sum(wanted.values())
    return 2 * precision * recall / (precision + recall)
