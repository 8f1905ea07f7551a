import re


def committed(text, answer):
    found = re.findall(r"The answer is (\d+)\.?\s*$", text)
    return float(text.count("The answer is") == 1 and found == [str(answer)])
