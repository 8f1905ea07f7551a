def word_similarity(first, second, width):
    sets = []
    for text in (first, second):
        words = text.lower().split()
        sets.append({tuple(words[i : i + width]) for i in range(len(words) - width + 1)})
    union = sets[0] | sets[1]
    return len(sets[0] & sets[1]) / len(union) if union else 0.0
