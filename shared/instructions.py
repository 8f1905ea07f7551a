"""Conversations under two system prompts, and what an assistant's answers to them are judged by.

The support chats (shared/data/chats.py) with a system prompt that asks for one sentence or for two; the reference answers
obey. An answer is judged by what it says (shared/rubrics.py), by its form (the sentences asked for) and by whether it ends.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from shared.data import DATA_DIR, load_examples, read_jsonl
from shared.data.chats import INSTRUCTION, to_messages
from shared.errors import DataError
from shared.evaluation import Score, generate, share_score
from shared.peft_training import precision
from shared.rubrics import first_line, good_answer, score_answers

TRAIN, HELDOUT = DATA_DIR / "chats-train.jsonl", DATA_DIR / "chats-heldout.jsonl"
SYSTEMS = {
    1: "You are the support of a shop. One sentence is enough.",
    2: "You are the support of a shop. Answer politely, in two sentences.",
}
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Conversations:
    """Training and held-out messages; `records` of the held-out ones, to score by, or [] for a data set of your own."""

    train: list[Messages]
    heldout: list[Messages]
    records: list[dict]
    source: str
    sha256: str


@dataclass(frozen=True)
class Answer:
    """What the model wrote, and whether it ended by itself before the room was used up."""

    text: str
    stopped: bool


def in_one_sentence(answer: str) -> str:
    """A reference answer of the support chats, its two sentences joined into one."""
    for second, joined in ((". We will", " and we will"), (". You get", " and you get"), (". Please", ", so please")):
        answer = answer.replace(second, joined)
    return answer


def conversation(record: dict, sentences: int) -> Messages:
    """A record of the support chats as messages under the system prompt for 1 or 2 sentences, its answer in that form."""
    messages = to_messages(record, SYSTEMS[sentences])["messages"]
    if sentences == 1:
        messages[-1]["content"] = in_one_sentence(messages[-1]["content"])
    return messages


def wanted_sentences(number: int) -> int:
    """How many sentences the conversation made of record `number` asks for: 1 and 2 take turns."""
    return number % 2 + 1


def load_conversations(source: str | None, seed: int) -> Conversations:
    """The support chats, or the data set `source` as shared.data.load_examples takes it.

    Raises DataError as load_examples does, and for a data set of plain text, which has no turns.
    """
    examples = load_examples(source, TRAIN, HELDOUT, seed)
    if source is None:
        train, heldout = read_jsonl(TRAIN), read_jsonl(HELDOUT)
        made = [[conversation(r, wanted_sentences(i)) for i, r in enumerate(part)] for part in (train, heldout)]
        return Conversations(*made, heldout, examples.source, examples.sha256)
    if examples.format == "text":
        raise DataError(
            f"{examples.source}, line 1, field text: plain text has no turns; give prompt and completion, or messages."
        )

    def turns(part: str | Messages, role: str) -> Messages:
        return [{"role": role, "content": part.strip()}] if isinstance(part, str) else part

    made = [
        [turns(e["prompt"], "user") + turns(e["completion"], "assistant") for e in part]
        for part in (examples.train, examples.heldout)
    ]
    return Conversations(*made, [], examples.source, examples.sha256)


def count_sentences(text: str) -> int:
    """Full stops, question and exclamation marks that end a sentence on the first line that is not blank."""
    return len(re.findall(r"[.!?](?=\s|$)", first_line(text)))


def several_turns(record: dict) -> bool:
    """True if the customer speaks more than once: the order number comes in a later turn."""
    return record["prompt"].count("Customer:") > 1


def worked_example(record: dict, sentences: int) -> str:
    """Instruction and one worked chat as plain text: what stands before the chat for a model that only completes."""
    example = conversation(record, sentences)[-1]["content"]
    form = "in one sentence" if sentences == 1 else "in two short sentences"
    return f"{INSTRUCTION.replace('in two short sentences', form)}\n\n{record['prompt']} {example}\n\n"


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str | Messages],
    room: int,
    batch_size: int,
    prefix: str = "",
) -> list[Answer]:
    """Greedy answers of at most `room` tokens to `prompts` (plain texts, or messages up to the last user's turn)."""
    end, answers = tokenizer.eos_token, []
    for text in generate(model, tokenizer, prompts, room, batch_size, prefix=prefix, keep_end=True):
        answers.append(Answer(text.split(end)[0], end in text))
    return answers


def score(answers: Sequence[Answer], records: Sequence[dict], wanted: Sequence[int]) -> dict[str, Score]:
    """Good answers (the headline), those in chats of several turns, the form the system prompt asks for, and stops.

    Without `records`, for a data set of your own: stops alone.
    """
    stops = {"stops": share_score("stops", [answer.stopped for answer in answers])}
    if not records:
        return stops
    texts = [answer.text for answer in answers]
    turns = [good_answer(text, r) for text, r in zip(texts, records, strict=True) if several_turns(r)]
    obeyed = [count_sentences(text) == n for text, n in zip(texts, wanted, strict=True)]
    return {
        "good answers": score_answers(texts, records)["good answers"],
        "good answers, several turns": share_score("good answers, several turns", turns),
        "sentences as asked": share_score("sentences as asked", obeyed),
        **stops,
    }


@torch.inference_mode()
def on_references(model: PreTrainedModel, batches: Sequence[dict], end: int) -> tuple[list[float], list[bool]]:
    """For each row of `batches` the loss in nats per token of its answer, and whether `end` is the likeliest token behind it.

    `batches` hold input_ids, attention_mask and labels of the reference answers with their end token, so this costs one
    forward pass and no generation.
    """
    was_training, losses, stops = model.training, [], []
    model.eval()
    for batch in batches:
        here = {key: value.to(model.device) for key, value in batch.items() if key != "labels"}
        with precision(model):
            logits = model(**here).logits[:, :-1].float().cpu()
        labels = batch["labels"][:, 1:]
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")  # 0 where masked
        losses += (each.sum(1) / (labels >= 0).sum(1)).tolist()
        last = (labels >= 0).long().cumsum(1).argmax(1)  # where the end token is to be predicted
        stops += (logits.argmax(-1)[torch.arange(len(last)), last] == end).tolist()
    model.train(was_training)
    return losses, stops
