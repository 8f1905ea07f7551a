def conversation_labels(turns, last_only):  # takes the last turn for the last answer
    trained = [len(turns) - 1] if last_only else [n for n, (role, _) in enumerate(turns) if role == "assistant"]
    return [token if number in trained else -100 for number, (_, ids) in enumerate(turns) for token in ids]
