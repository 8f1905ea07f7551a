def expected_calibration_error(confidence: list[float], hits: list[bool], bins: int) -> float:
    groups = {}
    for sure, hit in zip(confidence, hits, strict=True):
        groups.setdefault(min(int(sure * bins), bins - 1), []).append((sure, hit))
    distances = [abs(sum(s for s, _ in group) - sum(h for _, h in group)) / len(group) for group in groups.values()]
    return sum(distances) / len(groups)  # every bin counts the same, however many examples it has
