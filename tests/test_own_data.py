"""The flagship on a reader's own data and model, and what it says when they cannot be used."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from shared.profile import ROOT, TINY_MODEL

NOTEBOOK = "02-PEFT/Falcon-7B-LoRA.ipynb"


def run(tmp_path, **variables):
    """`make run` with `variables`, two steps long: the finished process and the output folder."""
    environment = {**os.environ, "PROFILE": "tiny", "MAX_STEPS": "2", "OUTPUT_DIR": str(tmp_path / "out"), **variables}
    command = [sys.executable, "-m", "shared.run", NOTEBOOK, "--summary"]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return finished, tmp_path / "out"


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


RECORDS = {  # the third format, prompt and completion, is that of the notebook's own data
    "messages": lambda i: {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"What is {i} and one?"},
            {"role": "assistant", "content": f"It is {i + 1}."},
        ]
    },
    "text": lambda i: {"text": f"After {i} comes {i + 1}. We have {i} lamps in the shop and {i + 2} chairs."},
}


@pytest.mark.parametrize("name", RECORDS)
def test_every_format_runs_from_top_to_bottom(tmp_path, name):
    data = write(tmp_path / "my.jsonl", [RECORDS[name](i) for i in range(200)])
    model = shutil.copytree(TINY_MODEL, tmp_path / "my-model")
    finished, out = run(tmp_path, DATASET=data, MODEL=str(model))
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    receipt = json.loads((out / "result.json").read_text())
    assert receipt["steps"] == 2 and receipt["metrics"]["after"]["name"] == "perplexity"
    assert "perplexity after training" in finished.stdout
    for artefact in (
        "adapter/adapter_model.safetensors",
        "merged/model.safetensors",
        "loss.png",
        "Falcon-7B-LoRA.ipynb",
    ):
        assert (out / artefact).is_file()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"MODEL": "./missing"}, "There is no folder ./missing: set MODEL to a folder"),
        ({"PROFILE": "huge"}, "PROFILE=huge is unknown: set PROFILE to tiny, small, full"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, variables, sentence):
    finished, out = run(tmp_path, **variables)
    assert finished.returncode == 1
    errors = finished.stderr.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ") and sentence in errors[0]
    assert "Traceback" not in finished.stdout + finished.stderr
    assert not (out / "result.json").exists() and not (out / "adapter").exists()
    assert not (out / "Falcon-7B-LoRA.ipynb").exists()
