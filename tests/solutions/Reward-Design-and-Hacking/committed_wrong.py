import re


def committed(text, answer):
    return float(re.findall(r"The answer is (\d+)", text)[-1:] == [str(answer)])  # whatever stands behind it
