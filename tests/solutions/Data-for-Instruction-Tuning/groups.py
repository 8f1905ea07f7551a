def groups(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    group = list(range(count))
    changed = True
    while changed:
        changed = False
        for a, b in pairs:
            least = min(group[a], group[b])
            if group[a] != group[b]:
                group[a] = group[b] = least
                changed = True
    return group
