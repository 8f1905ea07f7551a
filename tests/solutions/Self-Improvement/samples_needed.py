def samples_needed(p, wanted):
    if p == 0:
        return 0
    count, missed = 0, 1.0
    while 1 - missed < wanted:
        count, missed = count + 1, missed * (1 - p)
    return count
