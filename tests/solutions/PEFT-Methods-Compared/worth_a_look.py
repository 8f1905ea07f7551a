def worth_a_look(methods: dict[str, tuple[float, float]]) -> list[str]:
    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] <= other[0] and one[1] >= other[1] and one != other

    return sorted(name for name, own in methods.items() if not any(beats(other, own) for other in methods.values()))
