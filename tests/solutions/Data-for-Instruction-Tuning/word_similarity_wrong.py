def word_similarity(first, second, width):
    a, b = set(first.lower().split()), set(second.lower().split())  # words, whatever the width
    return len(a & b) / len(a | b)
