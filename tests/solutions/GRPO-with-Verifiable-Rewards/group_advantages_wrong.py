from statistics import fmean, pstdev


def group_advantages(rewards, generations):
    advantages = []
    for start in range(0, len(rewards), generations):
        group = rewards[start : start + generations]
        mean, deviation = fmean(group), pstdev(group)
        advantages += [(reward - mean) / (deviation + 1e-4) for reward in group]
    return advantages
