def sharded_gib(parameters: int, trained: int, element: int, gpus: int) -> float:
    return (parameters + 2 * trained) * element / gpus / 2**30
