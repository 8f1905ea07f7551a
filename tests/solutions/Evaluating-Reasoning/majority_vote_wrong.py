from collections import Counter


def majority_vote(answers: list) -> int | None:
    return Counter(answers).most_common(1)[0][0]
