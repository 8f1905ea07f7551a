def f1_of_class(truth: list[str], answers: list[str], label: str) -> float:
    hits = sum(true == said == label for true, said in zip(truth, answers, strict=True))
    either = truth.count(label) + answers.count(label)
    return 2 * hits / either if either else 0.0
