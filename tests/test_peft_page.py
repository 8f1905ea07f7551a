"""02-PEFT/README.md: its code runs, its target modules exist, and its numbers are generated."""

import re
from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from shared.adapters import check_lora
from shared.errors import AdapterError
from shared.profile import ROOT, TINY_MODEL
from shared.receipts import MARKER
from tests.test_documents import FENCE

PAGE = (ROOT / "02-PEFT/README.md").read_text(encoding="utf-8")
FAMILIES = {
    "Llama": ["llama"],
    "Mistral": ["mistral"],
    "Qwen": ["qwen2", "qwen3"],
    "Gemma": ["gemma", "gemma2", "gemma3_text"],
    "Mixtral": ["mixtral"],
    "Phi": ["phi"],
    "Phi-3": ["phi3"],
    "Falcon": ["falcon"],
    "GPT-NeoX": ["gpt_neox"],
    "BLOOM": ["bloom"],
    "GPT-2": ["gpt2"],
    "GPT-J": ["gptj"],
    "OPT": ["opt"],
}
ROWS = [
    (kind, re.findall(r"`([\w.]+)`", attention), re.findall(r"`([\w.]+)`", mlp))
    for families, attention, mlp in re.findall(r"^\| ([\w, -]+) \| (`.*?) \| (`.*?) \|$", PAGE, re.MULTILINE)
    for family in families.split(", ")
    for kind in FAMILIES[family]
]
LAYERS = 2


def empty(kind):
    """The architecture in its usual width, two layers deep, without memory for its weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](num_hidden_layers=LAYERS))


def adapted(model) -> Counter:
    return Counter(name.removesuffix(".lora_A") for name, _ in model.named_modules() if name.endswith(".lora_A"))


def test_every_family_has_a_row():
    assert sorted(kind for kind, _, _ in ROWS) == sorted(kind for kinds in FAMILIES.values() for kind in kinds)


@pytest.mark.parametrize(("kind", "attention", "mlp"), ROWS, ids=[kind for kind, _, _ in ROWS])
def test_the_names_are_those_of_the_architecture(kind, attention, mlp):
    experts = [name for name in mlp if "experts" in name]
    names = attention + [name for name in mlp if name not in (*experts, "target_parameters")]
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=names, target_parameters=experts or None)
    check_lora(empty(kind), config)
    layers = adapted(get_peft_model(empty(kind), config))
    assert len(layers) == LAYERS * (len(names) + len(experts)), layers
    everything = get_peft_model(empty(kind), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    routers = ["gate"] if kind == "mixtral" else []
    assert len(adapted(everything)) == LAYERS * len(names + experts + routers)  # the output layer is left out, no other


def test_the_old_names_of_mixtral_are_translated_by_peft():
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "w1", "w2", "w3"])
    check_lora(empty("mixtral"), config)
    assert len(adapted(get_peft_model(empty("mixtral"), config))) == LAYERS * 3
    with pytest.raises(AdapterError, match="no layer of MixtralForCausalLM is called w1, w4"):
        check_lora(empty("mixtral"), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "w1", "w4"]))


def test_the_code_runs(tmp_path, monkeypatch):
    blocks = [body for language, body in FENCE.findall(PAGE) if language == "python"]
    assert len(blocks) >= 5
    code = "\n".join(blocks).replace('"tiiuae/falcon-7b"', f'r"{TINY_MODEL}"')
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(code, namespace)
    assert namespace["answers"].shape[0] == 2
    assert (tmp_path / "runs/example/adapter/adapter_model.safetensors").exists()
    assert list((tmp_path / "runs/example").rglob("events.out.tfevents*"))  # what TensorBoard shows


def test_every_number_in_a_sentence_is_generated():
    prose = MARKER.sub("", FENCE.sub("", PAGE))
    prose = re.sub(r"<!-- = .*?<!-- -->", "", prose, flags=re.DOTALL)  # figures, checked with the tables
    prose = re.sub(r"\]\([^)]*\)|`[^`]*`|<!--.*?-->", "", prose, flags=re.DOTALL)
    prose = re.sub(r"^(\||#).*$", "", prose, flags=re.MULTILINE)  # tables and headings
    # Names, and what is set and not measured.
    prose = re.sub(
        r"(Falcon|GPT|SmolLM2|Phi|LitGPT)[ -][\d.M]+(B|M)?|SmolLM2|H[12]00|\b(4|8|16)[ -](bit|GB)|03 Instruction|b?float(16|32)",
        "",
        prose,
    )
    prose = re.sub(r"(?s)\((?:\w+ et al\.|Kalajdzievski) \d{4},\s+arXiv:[\d.]+\)", "", prose)
    settings = [
        "rank 16",
        "Rank 16, alpha 32",
        "Medians of 20 steps; of 4",
        "recomputes 2 of 32 layers",
        "and recomputes 4",
        "instead of 2 of them",
        "with 4 x 2048 random tokens on each GPU, on 1, 2 and 4",
        f"{65024 * 4544 // 10**6} million parameters more",  # vocabulary times width
    ]
    prose = " ".join(prose.split())
    for setting in settings:
        assert setting in prose, setting
        prose = prose.replace(setting, "")
    assert not re.findall(r".{,60}\d.{,20}", prose)
