def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + alpha / A.shape[0] * (x @ A.T) @ B.T
