def gradient_of_A(x, G, A, B, alpha):
    return (G @ B).T @ x  # without the scale
