def loss_mask(turns: list[tuple[str, int]], every: bool) -> list[int]:
    last = max((i for i, (role, _) in enumerate(turns) if role == "assistant"), default=None)
    mask = []
    for i, (role, tokens) in enumerate(turns):
        mask += [int(role == "assistant" and (every or i == last))] * tokens
    return mask
