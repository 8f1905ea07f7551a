def first_difference(trained: list[int], served: list[int]) -> int:
    for position in range(max(len(trained), len(served))):
        if trained[position : position + 1] != served[position : position + 1]:
            return position
    return -1
