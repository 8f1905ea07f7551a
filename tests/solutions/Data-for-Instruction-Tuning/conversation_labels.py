def conversation_labels(turns, last_only):
    answers = [number for number, (role, _) in enumerate(turns) if role == "assistant"]
    trained = answers[-1:] if last_only else answers
    return [token if number in trained else -100 for number, (_, ids) in enumerate(turns) for token in ids]
