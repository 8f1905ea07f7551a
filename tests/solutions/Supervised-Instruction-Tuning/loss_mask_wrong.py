def loss_mask(turns: list[tuple[str, int]], every: bool) -> list[int]:
    return [int(role == "assistant") for role, tokens in turns for _ in range(tokens)]  # every turn, asked for or not
