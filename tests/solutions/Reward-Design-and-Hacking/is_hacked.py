from statistics import fmean


def is_hacked(rewards, accuracies):
    third = len(rewards) // 3
    rose = fmean(rewards[-third:]) - fmean(rewards[:third])
    return rose >= 0.2 and accuracies[-1] - accuracies[0] < 0.05
