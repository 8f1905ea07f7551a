def copied(summary: list[str], source: list[str], length: int) -> float:
    def runs(words: list[str]) -> list[tuple]:
        return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]

    there = set(runs(source))
    found = [run in there for run in runs(summary)]
    return sum(found) / len(found) if found else 0.0
