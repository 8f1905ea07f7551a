def from_sharegpt(record):  # keeps a question that nobody answers
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    return {"messages": [{"role": roles[turn["from"]], "content": turn["value"]} for turn in record["conversations"]]}
