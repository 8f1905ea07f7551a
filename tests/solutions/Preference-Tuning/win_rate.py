def win_rate(wins: int, ties: int, losses: int) -> float:
    return (wins + 0.5 * ties) / (wins + ties + losses)
