import re


def last_tagged_answer(text: str):
    found = re.findall(r"<answer>\s*(\d+)", text)
    return int(found[-1]) if found else -1
