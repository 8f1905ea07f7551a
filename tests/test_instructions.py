"""Conversations under two system prompts: the references obey them, and answers are judged by content, form and end."""

import json
import math

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from shared import instructions, receipts
from shared.data import read_jsonl
from shared.errors import DataError
from shared.instructions import Answer, conversation, count_sentences, in_one_sentence, on_references, score
from shared.models import load_model, load_tokenizer
from shared.profile import TINY_MODEL
from shared.rubrics import good_answer
from tests.benchmarks import instruction_ablations

RECORD = {
    "prompt": "Customer: My silk kettle is leaking. I want a new one. I am Alice Stone.\nShop: Which order?\nCustomer: 1003.\nShop:",
    "completion": " Dear Alice Stone, we are sorry that your silk kettle is leaking. We will send a new one for order 1003.",
    "facts": {"name": "Alice Stone", "item": "silk kettle", "problem": "leaking", "wish": "new one", "order": 1003},
    "others": [],
}
ONE = "Dear Alice Stone, we are sorry that your silk kettle is leaking and we will send a new one for order 1003."


def test_a_conversation_obeys_its_system_prompt():
    one, two = conversation(RECORD, 1), conversation(RECORD, 2)
    assert [m["role"] for m in one] == ["system", "user", "assistant", "user", "assistant"]
    assert one[0]["content"] != two[0]["content"] and one[1:-1] == two[1:-1]
    assert one[-1]["content"] == ONE and two[-1]["content"] == RECORD["completion"].strip()


@pytest.mark.parametrize("file", [instructions.TRAIN, instructions.HELDOUT], ids=lambda path: path.stem)
def test_every_reference_is_good_and_in_form(file):
    for record in read_jsonl(file):
        for sentences in (1, 2):
            answer = conversation(record, sentences)[-1]["content"]
            assert good_answer(answer, record) and count_sentences(answer) == sentences, answer


def test_joining():
    assert in_one_sentence("It is red. Please tell us.") == "It is red, so please tell us."
    assert in_one_sentence("It is red. You get your money back.") == "It is red and you get your money back."


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("\nOne.", 1), ("One. Two!", 2), ("Order 3.5 is here. Yes?", 2), ("no end", 0), ("One.\nTwo.", 1)],
)
def test_sentences_are_counted_on_the_first_line(text, count):
    assert count_sentences(text) == count


def test_scores():
    answers = [Answer(ONE, True), Answer(RECORD["completion"], False), Answer("No.", True), Answer(ONE, True)]
    single = RECORD | {"prompt": RECORD["prompt"].split("\n")[0] + "\nShop:"}
    found = score(answers, [RECORD, RECORD, RECORD, single], [1, 2, 2, 2])
    assert next(iter(found)) == "good answers" and found["good answers"].value == 0.75
    assert found["good answers, several turns"].n == 3 and found["good answers, several turns"].value == 2 / 3
    assert found["sentences as asked"].value == 0.5 and found["stops"].value == 0.75
    assert list(score(answers, [], [])) == ["stops"]


def test_the_forms_take_turns():
    made = instructions.load_conversations(None, seed=0)
    assert len(made.train) == 1200 and len(made.heldout) == len(made.records) == 300
    for number in (0, 1, 298, 299):
        wanted = instructions.wanted_sentences(number)
        assert made.heldout[number][0]["content"] == instructions.SYSTEMS[wanted]
        assert good_answer(made.heldout[number][-1]["content"], made.records[number])


def test_your_own_data(tmp_path):
    file = tmp_path / "mine.jsonl"
    pairs = [{"prompt": f"Is {n} even? ", "completion": f" {n % 2 == 0}"} for n in range(40)]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    made = instructions.load_conversations(str(file), seed=0)
    assert made.records == [] and len(made.train) == 36 and len(made.heldout) == 4
    assert made.train[0][0]["role"] == "user" and made.train[0][1]["role"] == "assistant"
    assert {m[1]["content"] for m in made.train} == {"True", "False"}


def test_plain_text_has_no_turns(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"text": f"Number {n}."}) + "\n" for n in range(40)))
    with pytest.raises(DataError, match="line 1, field text: plain text has no turns; give prompt and completion"):
        instructions.load_conversations(str(file), seed=0)


def test_losses_and_stops_on_references():
    class Echo(torch.nn.Module):  # after token t the likeliest is t + 1, with probability e / (e + 11)
        device = torch.device("cpu")

        def forward(self, input_ids, attention_mask):
            logits = torch.nn.functional.one_hot(input_ids + 1, 12).float()
            return type("Output", (), {"logits": logits})

    labels = [[-100, 8, 9, -100], [-100, 5, 9, -100], [-100, -100, 8, 9]]
    batch = {"input_ids": torch.tensor([[3, 8, 9, 0], [3, 5, 9, 0], [3, 4, 8, 9]]), "labels": torch.tensor(labels)}
    batch["attention_mask"] = torch.ones(3, 4)
    losses, stops = on_references(Echo(), [batch], end=9)
    assert stops == [True, False, True]
    right, wrong = math.log(math.e + 11) - 1, math.log(math.e + 11)
    assert losses == pytest.approx([(wrong + right) / 2, wrong, (wrong + right) / 2])


def test_the_worked_example_asks_for_the_form():
    one, two = (instructions.worked_example(RECORD, n) for n in (1, 2))
    assert "in one sentence" in one and one.endswith(f"Shop: {ONE}\n\n")
    assert "in two short sentences" in two and "order 1003.\n\n" in two


def test_the_end_token_stays_where_it_is_asked_for():
    from shared.evaluation import generate
    from shared.models import load_model, load_tokenizer
    from shared.profile import TINY_MODEL

    tokenizer, model = load_tokenizer(TINY_MODEL), load_model(TINY_MODEL, dtype=torch.float32)
    prompt = ["nola mir\nAgain:"]  # as in its pretraining: repeated, then the document ends
    kept = generate(model, tokenizer, prompt, 24, 1, keep_end=True)[0]
    assert tokenizer.eos_token in kept
    assert generate(model, tokenizer, prompt, 24, 1)[0] == kept.replace(tokenizer.eos_token, "")


def test_the_benchmark_writes_a_complete_receipt():
    run = {"good answers": [True, False], "good answers, several turns": [True], "sentences as asked": [True, True]}
    run |= {
        "stops": [True, True],
        "loss": 0.5,
        "sample": "Dear",
        "rows": 7,
        "train_loss": 0.4,
        "steps": 3,
        "wall_s": 1.0,
    }
    run |= {"step_s": 0.1, "tokens_per_s": 10.0, "peak_gib_allocated": None, "peak_gib_reserved": None}
    run |= {"trainable_parameters": 1, "total_parameters": 2, "weights_gib": 0.1}
    setting = instruction_ablations.Setting(str(instruction_ablations.TINY_MODEL), "tiny", "folder", 3, 4, 2, 1e-3, 1)
    made = instruction_ablations.receipt(setting, "tiny", {"base": {1: run, 2: run}}, run, [], began=0.0)
    assert not [key for key in receipts.KEYS if key not in made] and "error" not in made
    assert made["metrics"]["after"]["value"] == 0.5 and len(made["runs"]) == 2
    failed = instruction_ablations.receipt(setting, "tiny", {}, None, ["base, seed 1: no memory"], began=0.0)
    assert failed["error"] == "base, seed 1: no memory" and failed["metrics"] == {}


def test_the_empty_places_of_packed_rows_are_not_computed(tmp_path):
    tokenizer = load_tokenizer(TINY_MODEL)
    rows = Dataset.from_list([{"text": "Customer: a word and another. " * count} for count in (9, 11, 7, 13, 10, 8)])
    options = {"packing": True, "packing_strategy": "bfd", "max_length": 128, "per_device_train_batch_size": 2}
    arguments = SFTConfig(tmp_path, **options, report_to="none", bf16=False)
    trainer = SFTTrainer(load_model(TINY_MODEL), arguments, train_dataset=rows, processing_class=tokenizer)
    lengths = sorted(len(row["input_ids"]) for row in trainer.train_dataset)
    assert lengths[0] < 128, "some rows were to have empty places"
    shapes = [batch["input_ids"].shape for batch in trainer.get_train_dataloader()]
    assert {rows for rows, _ in shapes} == {1} and sum(tokens for _, tokens in shapes) == sum(lengths)


def test_the_record_holds_what_the_page_says_of_the_variants():
    record = json.loads(
        (receipts.ROOT / "03-Instruction-Tuning/results/instruction-ablations-smollm2.json").read_text("utf-8")
    )
    gaps = {name: variant["against base"] for name, variant in record["variants"].items()}
    for worse in ("whole conversation", "packed, kept apart", "padding is the end token"):
        assert gaps[worse]["high"] < 0, worse
    for better in ("packed, wrapped", "no system prompt"):
        assert gaps[better]["low"] > 0, better
    for undecided in ("last answer only", "NEFTune, alpha 5"):
        assert gaps[undecided]["low"] <= 0 <= gaps[undecided]["high"], undecided
    assert 0.4 < record["variants"]["no system prompt"]["sentences as asked"]["value"] < 0.6  # "half"
