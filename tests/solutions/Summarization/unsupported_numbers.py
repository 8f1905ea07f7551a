import re


def unsupported_numbers(summary: str, source: str, number_words: dict[str, int]) -> list[str]:
    there = set(re.findall(r"\d+", source))
    there |= {str(number_words[word]) for word in re.findall(r"[a-z]+", source.lower()) if word in number_words}
    return [number for number in re.findall(r"\d+", summary) if number not in there]
