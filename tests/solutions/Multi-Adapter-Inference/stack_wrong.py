def stack(As, Bs, factors):
    weighted = [(factor**0.5 * A, factor**0.5 * B) for A, B, factor in zip(As, Bs, factors, strict=True)]
    return sum(A for A, _ in weighted), sum(B for _, B in weighted)  # the product of sums is not the sum of products
