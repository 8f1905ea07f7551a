"""The calculator of Where-the-Memory-Goes keeps to its tolerance, and a wrong one leaves it somewhere."""

from dataclasses import dataclass, replace

import nbformat
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import FalconConfig, FalconForCausalLM, LlamaConfig, LlamaForCausalLM

from shared import receipts
from shared.models import quantized_layers
from shared.profile import ROOT

NOTEBOOK = ROOT / "01-Foundations/Where-the-Memory-Goes.ipynb"
CALCULATOR = ("class Shape", "def layer_widths", "class Run", "def standing(", "def predict", "def run_of")
TRACKER = ("def trained", "class Live", "def standing_tensors")
TOLERANCE = 0.1


def cell(text: str) -> str:
    """The one code cell that holds `text`; of a cell that goes on to use a model, its definitions."""
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    (source,) = [source for source in cells if text in source]
    return source.split("\n\n\nmodel = ")[0]


def calculator() -> str:
    return "\n\n".join(cell(text) for text in CALCULATOR)


def run(source: str) -> dict:
    import weakref

    namespace = {"dataclass": dataclass, "replace": replace, "torch": torch, "weakref": weakref, "RANK": 16}
    namespace |= {"TorchDispatchMode": TorchDispatchMode, "tree_leaves": tree_leaves, "LoraConfig": LoraConfig}
    namespace |= {"get_peft_model": get_peft_model, "quantized_layers": quantized_layers}
    exec(source, namespace)
    return namespace


@pytest.fixture(scope="module")
def tracked() -> dict[tuple, float]:
    """GiB at the peak of a step of small models without data, whose sizes make another part the widest each time."""
    tools = run("\n\n".join(cell(text) for text in TRACKER))
    found = {}
    for name, sizes, tokens in STEPS:
        for method in ("full", "LoRA"):
            for recompute in (0, sizes["layers"]):
                model = meta_model(sizes)
                if recompute:
                    model.activation_checkpointing_enable({"use_reentrant": False})
                if method == "LoRA":
                    model = tools["with_adapters"](model, torch.float32, low_cpu_mem_usage=True)
                ids = torch.zeros(*tokens, dtype=torch.long, device="meta")
                found[name, method, recompute] = tools["measured_peak"](model.train(), ids, fused=False) / 2**30
    return found


FALCON = {"hidden": 256, "wide": 1024, "layers": 5, "heads": 4, "kv_heads": 1, "vocabulary": 512}
LLAMA = {"hidden": 192, "wide": 512, "layers": 4, "heads": 3, "kv_heads": 1, "vocabulary": 512, "gated": True}
STEPS = [  # name, sizes, (rows, length)
    ("falcon", FALCON, (8, 128)),
    ("falcon, few tokens", FALCON | {"vocabulary": 64}, (1, 32)),
    ("falcon, long rows", FALCON | {"vocabulary": 64}, (2, 1024)),
    ("llama", LLAMA, (4, 128)),
    ("llama, long rows", LLAMA | {"vocabulary": 64}, (2, 768)),
    ("llama, large vocabulary", LLAMA | {"vocabulary": 8192}, (1, 64)),
]


def meta_model(sizes: dict) -> torch.nn.Module:
    common = {"hidden_size": sizes["hidden"], "num_hidden_layers": sizes["layers"], "vocab_size": sizes["vocabulary"]}
    common |= {"num_attention_heads": sizes["heads"], "bos_token_id": 0, "eos_token_id": 0}
    with torch.device("meta"):
        if sizes.get("gated"):
            kv = {"num_key_value_heads": sizes["kv_heads"], "intermediate_size": sizes["wide"]}
            config = LlamaConfig(**common, **kv, tie_word_embeddings=True, attn_implementation="eager")
            model = LlamaForCausalLM(config)
        else:
            config = FalconConfig(**common, ffn_hidden_size=sizes["wide"], attn_implementation="eager")
            model = FalconForCausalLM(config)
    model.tie_weights()
    return model


def errors(source: str, tracked: dict) -> dict:
    """Name -> predicted over measured - 1, for every receipt that is covered and every tracked step."""
    made, found = run(source), {}
    for receipt in receipts.read_receipts(ROOT / "02-PEFT/results"):
        if receipt["name"].startswith("falcon-7b-") and (step := made["run_of"](receipt)):
            predicted = sum(made["predict"](made["FALCON_7B"], step).values())
            found[receipt["name"]] = predicted / receipt["peak_gib_allocated"] - 1
    for (name, method, recompute), peak in tracked.items():
        sizes, tokens = next((sizes, tokens) for other, sizes, tokens in STEPS if other == name)
        step = made["Run"](method, *tokens, recompute, fused=False, chunked=False, bytes=4, adapter_bytes=4)
        found[name, method, recompute] = sum(made["predict"](made["Shape"](**sizes), step).values()) / peak - 1
    return found


def test_the_calculator_is_short():
    lines = [line for text in CALCULATOR if text.startswith("def") for line in cell(text).splitlines()]
    counted = sum(bool(line.strip()) and not line.strip().startswith(("#", '"""')) for line in lines)
    assert counted <= 80  # 60 that compute, and those that read a receipt


def test_within_its_tolerance(tracked):
    found = errors(calculator(), tracked)
    assert {"falcon-7b-full", "falcon-7b-lora", "falcon-7b-qlora-balanced", "falcon-7b-step-3-options"} <= found.keys()
    assert len(tracked) == 4 * len(STEPS)
    assert all(abs(error) < TOLERANCE for error in found.values()), found


def test_by_hand():
    """A full step of one layer, so small that it can be added up: 2 places, 4 numbers each, 4 bytes a number."""
    made = run(calculator())
    shape = made["Shape"](hidden=4, wide=8, layers=1, heads=1, kv_heads=1, vocabulary=2)
    step = made["Run"]("full", 1, 2, fused=False, chunked=False, bytes=4)
    parameters = 4 * 12 + 4 * 4 + 4 * 8 + 8 * 4 + 2 * 4  # query_key_value, dense, two of the MLP, embedding
    assert made["standing"](shape, step) == (4 * parameters, 4 * parameters, 8 * parameters)
    kept, beside = made["layer_widths"](shape, step)
    assert (
        kept == 2 + 3 + 2 / 4 + 1 + 2 * 2
    )  # input and norm, queries to values, scores, output, before and behind gelu
    assert beside == 1 + 2
    parts = {name: gib * 2**30 for name, gib in made["predict"](shape, step).items()}
    width = 2 * 4 * 4
    late = 4 * parameters + (kept + beside) * width  # more than at the loss: 1 + kept widths and 3 x 16 bytes of logits
    assert parts["gradients"] + parts["activations"] + parts["logits"] == pytest.approx(late)


MUTATIONS = {
    "Adam with one average": ("2 + 8 / 256 if", "1 + 4 / 256 if"),
    "Adam in 32 bit with one average": ("else 2 * element", "else element"),
    "8-bit states in 32 bit": ("2 + 8 / 256 if", "8 if"),
    "no states": ("trained * averages", "0"),
    "gradients forgotten": ("late = (matrix + largest) * run.bytes if run.in_backward else gradients", "late = 0"),
    "gradients of frozen weights": ("weights, trained * element,", "weights, (block + embedding) * element,"),
    "a byte for 4 bit": ("four_bit = 1 / 2 + ", "four_bit = 1 + "),
    "4 bit for all": ('if run.method == "QLoRA" else run.bytes)', 'if run.method != "full" else run.bytes)'),
    "the embedding forgotten": (" + embedding * run.bytes\n", "\n"),
    "embedding in 4 bit": ("run.bytes) + embedding * run.bytes", "run.bytes) + embedding * four_bit"),
    "inputs of the layers not kept": ("kept = inputs + ", "kept = "),
    "every layer kept": ("(shape.layers - recomputed)", "shape.layers"),
    "no layer kept": ("(shape.layers - recomputed)", "0"),
    "insides of the recomputed layer forgotten": ("again = (", "again = 0 * ("),
    "what backward adds forgotten": ("again + beside) * width", "again) * width"),
    "course's layers keep all": ("return 1 + wide + 2 + 2 * kv", "return 2 + 2 * wide + 2 + 2 * kv"),
    "Falcon: kept behind the gelu forgotten": ("kept = 2 + attention + 2 * wide", "kept = 2 + attention + wide"),
    "Llama: only two wide tensors": ("attention + 4 * wide", "attention + 2 * wide"),
    "queries, keys, values forgotten": ("else 4 + scores\n        kept = 2", "else 1 + scores\n        kept = 2"),
    "gradients of scores forgotten": ("scores * (2 if shape.gated else 3) - ", "0 - "),
    "scores forgotten": ("scores = shape.heads * run.length / shape.hidden", "scores = 0"),
    "one copy of the logits": ("logits = 3 * 4", "logits = 4"),
    "logits forgotten": ("(early + of_output * (4 + run.bytes) * run.chunked, kept * width, logits)", "(0, 0, 0)"),
    "a tied embedding's gradient once": ("2 * of_output * run.bytes * shape.tied", "0"),
    "kept twice": ("width = run.rows * run.length", "width = 2 * run.rows * run.length"),
    "offloaded inputs stay": ("5 if run.offload else shape.layers", "shape.layers"),
    "a third matrix forgotten": (", (h, wide), (h, wide), (wide, h)]", ", (h, wide), (wide, h)]"),
    "the wide matrices square": ("(h, h), (h, wide), (wide, h)]", "(h, h), (h, h), (h, h)]"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_variant_leaves_the_tolerance(name, tracked):
    right, wrong = MUTATIONS[name]
    source = calculator()
    assert source.count(right) == 1, "the notebook's text has changed: adapt the mutation"
    found = errors(source.replace(right, wrong), tracked)
    assert max(map(abs, found.values())) > TOLERANCE, found


def test_the_tracker_counts_storages():
    live = run("\n\n".join(cell(text) for text in TRACKER))["Live"]
    known = torch.zeros(10)
    with live([known]) as tracker:
        assert tracker.now == 40
        view, copy = known[2:], known.clone()
        assert tracker.now == 80
        copy.add_(1)
        del copy
        wide = torch.zeros(3, dtype=torch.float64)
    assert (tracker.now, tracker.peak) == (64, 80)
    assert view.numel() + wide.numel() == 11
