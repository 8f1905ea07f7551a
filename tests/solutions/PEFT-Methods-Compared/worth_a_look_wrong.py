def worth_a_look(methods: dict[str, tuple[float, float]]) -> list[str]:
    best = max(quality for _, quality in methods.values())
    return sorted(name for name, (_, quality) in methods.items() if quality == best)  # cost does not count
