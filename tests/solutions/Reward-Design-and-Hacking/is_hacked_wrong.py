def is_hacked(rewards, accuracies):
    return rewards[-1] - rewards[0] >= 0.2 and max(accuracies) - accuracies[0] < 0.05
