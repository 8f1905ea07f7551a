def clipped_loss(ratio, advantage, epsilon_low, epsilon_high):
    return -min(max(ratio, 1 - epsilon_low), 1 + epsilon_high) * advantage  # clips where it should still pull
