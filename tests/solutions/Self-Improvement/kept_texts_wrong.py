def kept_texts(samples, right, most):
    texts = [text for text, hit in zip(samples, right, strict=True) if hit]
    return sorted(texts, key=len)[:most]  # the same text may be in it twice
