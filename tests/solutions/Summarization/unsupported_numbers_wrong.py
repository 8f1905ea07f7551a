import re


def unsupported_numbers(summary: str, source: str, number_words: dict[str, int]) -> list[str]:
    source = source.lower()
    for word, number in number_words.items():
        source = source.replace(word, str(number))
    return [number for number in re.findall(r"\d+", summary) if number not in source]
