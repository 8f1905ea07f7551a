def sharded_gib(parameters: int, trained: int, element: int, gpus: int) -> float:
    return (parameters + 2 * trained / gpus) * element / 2**30  # only the averages are divided: that is ZeRO-1
