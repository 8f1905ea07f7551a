def f1_of_class(truth: list[str], answers: list[str], label: str) -> float:
    hits = sum(true == said == label for true, said in zip(truth, answers, strict=True))
    return hits / truth.count(label) if label in truth else 0.0  # recall alone
