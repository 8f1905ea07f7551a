def enough_rank(singular_values, share):
    total, kept = sum(value**2 for value in singular_values), 0.0
    for rank, value in enumerate(singular_values, 1):
        kept += value**2
        if kept >= share * total:
            return rank
