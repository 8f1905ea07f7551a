def gradient_of_A(x, G, A, B, alpha):
    return alpha / A.shape[0] * (G @ B).T @ x
