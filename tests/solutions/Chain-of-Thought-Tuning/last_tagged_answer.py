import re


def last_tagged_answer(text: str):
    found = re.findall(r"<answer>\s*([^<]*?)\s*</answer>", text)
    return int(found[-1]) if found and found[-1].isdigit() else -1
