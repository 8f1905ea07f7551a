import math


def samples_needed(p, wanted):
    return math.ceil(wanted / p) if p else 0  # as if chances added up
