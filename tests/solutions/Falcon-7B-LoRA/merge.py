def merge(weight, A, B, alpha, rank):
    return weight + alpha / rank * B @ A
