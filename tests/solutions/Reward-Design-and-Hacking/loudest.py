from statistics import pstdev


def loudest(rewards, weights):
    weighted = {name: [weights[name] * value for value in values] for name, values in rewards.items()}
    if pstdev(map(sum, zip(*weighted.values(), strict=True))) < 1e-9:
        return "none"
    return max(weighted, key=lambda name: pstdev(weighted[name]))
