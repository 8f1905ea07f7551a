def enough_rank(singular_values, share):
    total, kept = sum(singular_values), 0.0
    for rank, value in enumerate(singular_values, 1):
        kept += value  # the values, not their squares
        if kept >= share * total:
            return rank
