def rows_needed(lengths: list[int], room: int) -> int:
    left = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, free in enumerate(left) if free >= length]
        if fitting:
            left[min(fitting, key=lambda i: left[i])] -= length
        else:
            left.append(room - length)
    return len(left)
