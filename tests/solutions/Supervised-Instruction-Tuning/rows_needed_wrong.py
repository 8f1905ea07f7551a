def rows_needed(lengths: list[int], room: int) -> int:
    return -(-sum(lengths) // room)  # as if documents could be cut
