def kept_texts(samples, right, most):
    texts = dict.fromkeys(text for text, hit in zip(samples, right, strict=True) if hit)
    return sorted(texts, key=len)[:most]
