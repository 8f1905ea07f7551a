def clipped_loss(ratio, advantage, epsilon_low, epsilon_high):
    clipped = min(max(ratio, 1 - epsilon_low), 1 + epsilon_high)
    return -min(ratio * advantage, clipped * advantage)
