"""Adapters that do not fit, and merged models that do not fit on the disk, get a sentence; nothing is lost."""

import shutil
from collections import namedtuple

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import FalconConfig, FalconForCausalLM, set_seed

from shared.adapters import adapter_shapes, check_lora, load_adapter, save_merged
from shared.checkpoints import DiskFull
from shared.errors import AdapterError
from shared.models import load_model, load_tokenizer
from shared.profile import TINY_MODEL

SMALL = FalconConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=100)
LORA = {"task_type": "CAUSAL_LM", "r": 4, "target_modules": ["query_key_value", "dense"]}
IA3 = {"target_modules": ["query_key_value", "dense"], "feedforward_modules": ["dense"]}
WEIGHTS = "adapter_model.safetensors"


def small() -> FalconForCausalLM:
    set_seed(0)
    return FalconForCausalLM(SMALL).eval()


@pytest.fixture
def adapter(tmp_path):
    set_seed(1)
    model = get_peft_model(small(), LoraConfig(init_lora_weights=False, **LORA))
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"r": 0}, r"LoraConfig\(r=0\): the rank has to be a whole number from 1 up"),
        ({"r": 2.5}, r"LoraConfig\(r=2.5\): the rank"),
        ({"lora_alpha": 0}, r"lora_alpha=0\): .* count for nothing; twice the rank, 8, is a good start"),
        (
            {"target_modules": ["q_proj", "dense"]},
            r"is called q_proj. Its linear layers are dense, dense_4h_to_h, dense_h",
        ),
        ({"target_modules": r".*\.v_proj"}, r"no layer of FalconForCausalLM is called \.\*\\\.v_proj"),
    ],
)
def test_a_configuration_that_trains_nothing(changes, sentence):
    with pytest.raises(AdapterError, match=sentence):
        check_lora(small(), LoraConfig(**LORA | changes))


@pytest.mark.parametrize(
    "targets", ["all-linear", None, ["dense"], r".*\.query_key_value", ["transformer.h.0.mlp.dense_4h_to_h"]]
)
def test_a_configuration_that_trains(targets):
    check_lora(small(), LoraConfig(**LORA | {"target_modules": targets}))


def test_an_adapter_that_fits_is_the_one_saved(adapter):
    model = load_adapter(small(), adapter)
    load_adapter(model, adapter, name="second")
    for name in ("default", "second"):
        model.set_adapter(name)
        for key, tensor in load_file(adapter / WEIGHTS).items():
            assert torch.equal(model.get_parameter(key.replace(".weight", f".{name}.weight")), tensor)
    with pytest.raises(AdapterError, match="already called second: choose another name, or delete_adapter"):
        load_adapter(model, adapter, name="second")


def test_the_shapes_are_those_on_disk(adapter, tmp_path):
    for config in (LoraConfig(use_dora=True, **LORA), LoHaConfig(target_modules=["dense"]), IA3Config(**IA3)):
        get_peft_model(small(), config).save_pretrained(tmp_path / "other")
        saved = load_file(tmp_path / "other" / WEIGHTS)
        assert adapter_shapes(small(), config) == {key: tuple(tensor.shape) for key, tensor in saved.items()}


def test_what_does_not_fit_is_named_and_the_model_is_as_before(adapter, tmp_path):
    model, tensors = small(), load_file(adapter / WEIGHTS)
    before = [name for name, _ in model.named_modules()]

    def refused(change, sentence):
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(adapter, folder)
        change(folder)
        with pytest.raises(AdapterError, match=sentence):
            load_adapter(model, folder)
        assert [name for name, _ in model.named_modules()] == before

    first = min(tensors)
    refused(
        lambda f: save_file({k: v for k, v in tensors.items() if k != first}, f / WEIGHTS),
        "is missing, .* in the model.$",
    )
    refused(
        lambda f: save_file(tensors | {"x": tensors[first].clone()}, f / WEIGHTS),
        r": x is \(4, 64\) in the file, unknown.$",
    )
    cut = {k: v[:2].clone() if "lora_A" in k else v for k, v in tensors.items()}
    refused(lambda f: save_file(cut, f / WEIGHTS), r"is \(2, 64\) in the file, \(4, 64\) in the model, and 3 more of 8")
    refused(
        lambda f: (f / WEIGHTS).unlink(), "changed holds no adapter that can be read .*: it takes adapter_config.json"
    )
    refused(lambda f: (f / WEIGHTS).write_bytes(b"cut"), "holds no adapter that can be read")
    refused(lambda f: (f / "adapter_config.json").unlink(), "holds no adapter that can be read")
    config = (adapter / "adapter_config.json").read_text()
    other = config.replace('"base_model_name_or_path": null', '"base_model_name_or_path": "org/other"')
    assert other != config
    model.config.name_or_path = "org/this"
    refused(lambda f: (f / "adapter_config.json").write_text(other), "was trained on other, and this model is this")
    foreign = config.replace("query_key_value", "q_proj").replace('"dense"', '"v_proj"')
    refused(lambda f: (f / "adapter_config.json").write_text(foreign), "does not fit FalconForCausalLM: .*q_proj")


def test_peft_alone_only_warns(adapter):
    """The defect that load_adapter is there for; if this fails, it may no longer be needed."""
    tensors = load_file(adapter / WEIGHTS)
    del tensors[min(tensors)]
    save_file(tensors, adapter / WEIGHTS)
    with pytest.warns(UserWarning, match="missing adapter keys"):
        PeftModel.from_pretrained(small(), adapter)


def test_a_merged_model_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    model, tokenizer = load_model(TINY_MODEL, dtype=torch.float32), load_tokenizer(TINY_MODEL)
    folder = tmp_path / "merged"
    size = save_merged(model, tokenizer, folder)
    assert size == sum(path.stat().st_size for path in folder.iterdir()) and (folder / "tokenizer.json").exists()
    assert torch.equal(load_model(folder, dtype=torch.float32).lm_head.weight, model.lm_head.weight)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def unchanged() -> bool:
        there = {path.name: path.read_bytes() for path in folder.iterdir()}
        return there == before and not (tmp_path / "merged.unfinished").exists()

    with monkeypatch.context() as patch:
        usage = namedtuple("usage", "total used free")
        patch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10**6, 10**6))
        with pytest.raises(
            DiskFull, match=r"Merging into merged takes 0.01 GiB on disk: only 0.00 GiB are free. Free some"
        ):
            save_merged(model, tokenizer, folder)
        assert unchanged()

    def full(path):
        path.mkdir()
        (path / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(model, "save_pretrained", full)
        with pytest.raises(DiskFull, match="No space left on device"):
            save_merged(model, tokenizer, folder)
        assert unchanged()
