def copied(summary: list[str], source: list[str], length: int) -> float:
    return sum(word in source for word in summary) / len(summary)
