def rows_that_fit(card: float, fixed: float, per_row: float, overhead: float) -> int:
    return max(0, round((card - fixed - overhead) / per_row))  # half a row is no row
