from collections import Counter


def majority_vote(answers: list) -> int | None:
    read = [answer for answer in answers if answer is not None]
    return Counter(read).most_common(1)[0][0] if read else None
