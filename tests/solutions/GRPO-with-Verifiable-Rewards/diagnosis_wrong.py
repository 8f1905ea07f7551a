def diagnosis(log):
    if abs(log["loss"]) < 0.01:  # the loss says nothing
        return "too easy" if log["reward"] > 0.5 else "too hard"
    return "cut" if log["completions/clipped_ratio"] >= 0.9 else "learning"
