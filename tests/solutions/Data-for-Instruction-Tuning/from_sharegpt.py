def from_sharegpt(record):
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    messages = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in record["conversations"]]
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    return {"messages": messages}
