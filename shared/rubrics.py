"""Scoring by rule of summaries (shared/data/reports.py) and support answers (shared/data/chats.py).

A fact counts only in its relation: `sold 13 grey stools` and `13 grey stools were sold` say the same, and the bare words
do not. What a text must not do to pass: leave a fact out, add one that is not there, copy the source, run on.
"""

import re
from collections.abc import Sequence
from statistics import fmean

from shared.evaluation import Score, mean_score, share_score

# How a fact may be put; {} stands for its value.
SOLD = ("sold {}", "{} sold", "{} were sold", "{} was sold", "{} have been sold", "sales of {}", "sale of {}")
NEEDS = ("needs {}", "need {}", "needed {}", "{} needed", "{} are needed", "{} is needed", "requires {}", "wants {}")
ASKS = ("order number", "number of your order", "number of the order", "which order")
GRANTS = {
    "new one": ("new one", "replacement", "replace it", "exchange it"),
    "money back": ("money back", "refund", "return your money"),
}
POLITE = ("sorry", "apologise", "apologize", "apologies", "regret")
LONGEST_ANSWER = 40  # words; the longest reference has 22


def first_line(text: str) -> str:
    """The first line of an answer that is not blank, without spaces around it."""
    return text.strip().split("\n", 1)[0].strip()


def words(text: str) -> list[str]:
    """The words and numbers of `text`, in lower case."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())


def says(text: str, *values: str) -> bool:
    """True if one of `values` stands in `text` as whole words; case and punctuation do not count."""
    said = f" {' '.join(words(text))} "
    return any(f" {' '.join(words(value))} " in said for value in values)


def says_in_one_sentence(text: str, *values: str) -> bool:
    """True if all `values` stand in one sentence of `text`."""
    return any(all(says(sentence, value) for value in values) for sentence in re.split(r"[.;!?]", text))


def report_facts(answer: str, facts: dict) -> dict[str, bool]:
    """Which facts of a report the summary `answer` keeps, each in its relation; what the report does not tell is left out."""
    answer = first_line(answer)
    kept = {"city": says(answer, facts["city"]), "sold": says(answer, *(form.format(facts["sold"]) for form in SOLD))}
    if facts["fault"]:
        kept["fault"] = says_in_one_sentence(answer, *facts["fault"])
    if facts["needs"]:
        kept["needs"] = says(answer, *(form.format(facts["needs"]) for form in NEEDS))
    return kept


def foreign_numbers(answer: str, facts: dict) -> bool:
    """True if `answer` holds a number that is in none of the `facts`."""
    known = set(re.findall(r"\d+", " ".join(map(str, facts.values()))))
    return not set(re.findall(r"\d+", first_line(answer))) <= known


def good_summary(answer: str, record: dict) -> bool:
    """True if `answer` keeps all facts, adds none, and has at most half as many words again as the reference."""
    line, facts = first_line(answer), record["facts"]
    claims_need = any(says(line, word) for word in ("needs", "need", "needed"))
    return (
        all(report_facts(line, facts).values())
        and not foreign_numbers(line, facts)
        and not any(says(line, other) for other in record["others"])
        and claims_need == bool(facts["needs"])
        and len(words(line)) <= 1.5 * len(words(record["completion"]))
    )


def copied_share(answer: str, source: str, length: int = 4) -> float:
    """The share of the answer's runs of `length` words that stand in `source` just so; 0 for a shorter answer."""
    said, given = words(first_line(answer)), words(source)
    runs = [tuple(said[i : i + length]) for i in range(len(said) - length + 1)]
    found = {tuple(given[i : i + length]) for i in range(len(given) - length + 1)}
    return sum(run in found for run in runs) / len(runs) if runs else 0.0


def chat_facts(answer: str, facts: dict) -> dict[str, bool]:
    """What a support answer has to do, and whether `answer` does it."""
    answer = first_line(answer)
    done = {
        "name": says(answer, facts["name"]),
        "fault": says_in_one_sentence(answer, facts["item"], facts["problem"]),
        "polite": says(answer, *POLITE),
    }
    if facts["order"] is None:
        return done | {"asks": says(answer, *ASKS)}
    grants = [wish for wish, forms in GRANTS.items() if says(answer, *forms)]
    return done | {"wish": grants == [facts["wish"]], "order": says(answer, str(facts["order"]))}


def good_answer(answer: str, record: dict) -> bool:
    """True if `answer` does all that is asked, holds nothing foreign, is short, and not the customer's words again.

    With an order number it grants the customer's wish, that and no other, for that order; without, it asks for the number.
    """
    line, facts = first_line(answer), record["facts"]
    return (
        all(chat_facts(line, facts).values())
        and not foreign_numbers(line, facts)
        and not any(says(line, other) for other in record["others"])
        and len(words(line)) <= LONGEST_ANSWER
        and copied_share(line, record["prompt"]) <= 0.5
    )


def score_summaries(answers: Sequence[str], records: Sequence[dict]) -> dict[str, Score]:
    """Good summaries (the headline), facts kept, and the share that is copied, over `records`."""
    pairs = list(zip(answers, records, strict=True))
    kept = [fmean(report_facts(answer, record["facts"]).values()) for answer, record in pairs]
    return {
        "good summaries": share_score("good summaries", [good_summary(answer, record) for answer, record in pairs]),
        "facts kept": mean_score("facts kept", kept),
        "copied": mean_score("copied", [copied_share(answer, record["prompt"]) for answer, record in pairs]),
    }


def score_answers(answers: Sequence[str], records: Sequence[dict]) -> dict[str, Score]:
    """Good answers (the headline) and the share of what was asked that was done, over `records`."""
    pairs = list(zip(answers, records, strict=True))
    done = [fmean(chat_facts(answer, record["facts"]).values()) for answer, record in pairs]
    return {
        "good answers": share_score("good answers", [good_answer(answer, record) for answer, record in pairs]),
        "parts done": mean_score("parts done", done),
    }
