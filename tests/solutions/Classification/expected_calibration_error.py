def expected_calibration_error(confidence: list[float], hits: list[bool], bins: int) -> float:
    groups = {}
    for sure, hit in zip(confidence, hits, strict=True):
        groups.setdefault(min(int(sure * bins), bins - 1), []).append((sure, hit))
    distances = [abs(sum(sure for sure, _ in group) - sum(hit for _, hit in group)) for group in groups.values()]
    return sum(distances) / len(confidence)
