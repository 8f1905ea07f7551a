def win_rate(wins: int, ties: int, losses: int) -> float:
    return wins / (wins + ties + losses)  # a tie counts as a loss
