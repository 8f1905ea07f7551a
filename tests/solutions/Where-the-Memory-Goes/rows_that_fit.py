def rows_that_fit(card: float, fixed: float, per_row: float, overhead: float) -> int:
    return max(0, int((card - fixed - overhead) / per_row))
