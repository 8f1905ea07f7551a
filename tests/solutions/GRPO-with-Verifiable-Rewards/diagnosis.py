def diagnosis(log):
    if log["completions/clipped_ratio"] >= 0.9:
        return "cut"
    if log["frac_reward_zero_std"] >= 0.9:
        return "too easy" if log["reward"] > 0.5 else "too hard"
    return "learning"
