def loudest(rewards, weights):
    return max(rewards, key=lambda name: weights[name] * sum(rewards[name]))  # the largest, which may be constant
