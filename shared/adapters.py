"""Adapters that fail with a sentence: checked before training, on loading, and before a merged model is written."""

import copy
import os
import re
import shutil
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from shared.checkpoints import DiskFull
from shared.errors import AdapterError


def check_lora(model: torch.nn.Module, config: LoraConfig) -> None:
    """Raises AdapterError for a rank or alpha that would train nothing, and for target modules that match no layer."""
    if not isinstance(config.r, int) or config.r < 1:
        raise AdapterError(
            f"LoraConfig(r={config.r}): the rank has to be a whole number from 1 up; 16 is a good start."
        )
    if not config.lora_alpha > 0:
        raise AdapterError(
            f"LoraConfig(lora_alpha={config.lora_alpha}): the update is scaled by alpha / r and would count for nothing; "
            f"twice the rank, {2 * config.r}, is a good start."
        )
    targets, names = config.target_modules, [name for name, _ in model.named_modules()]
    if targets is None or targets == "all-linear":
        return
    if isinstance(targets, str):
        unmatched = [] if any(re.fullmatch(targets, name) for name in names) else [targets]
    else:
        unmatched = [t for t in sorted(targets) if not any(name == t or name.endswith(f".{t}") for name in names)]
        if unmatched and _are_translated(model, config, unmatched):
            return
    if unmatched:
        linear = {n.rsplit(".", 1)[-1] for n, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        raise AdapterError(
            f"target_modules: no layer of {type(model).__name__} is called {', '.join(unmatched)}. Its linear layers are "
            f'{", ".join(sorted(linear))}; "all-linear" takes all of them but the output layer.'
        )


def _are_translated(model: torch.nn.Module, config: LoraConfig, targets: list[str]) -> bool:
    """Whether PEFT knows `targets` as older names of what is in `model`: w1, w2 and w3 of Mixtral, for one."""
    try:
        return bool(adapter_shapes(model, LoraConfig(task_type=config.task_type, target_modules=targets)))
    except AdapterError:
        return False


def load_adapter(
    model: PreTrainedModel | PeftModel, folder: Path, name: str = "default", is_trainable: bool = False
) -> PeftModel:
    """`model` with the adapter saved in `folder`, under `name`, beside those that it has.

    PEFT only warns where tensors are missing, and the adapter is then partly random. Here AdapterError is raised before
    `model` is touched: for a folder without adapter, a name that is taken, another base, other shapes, missing or
    unknown tensors.
    """
    where = Path(folder).name
    if isinstance(model, PeftModel) and name in model.peft_config:
        raise AdapterError(
            f"An adapter is already called {name}: choose another name, or delete_adapter({name!r}) first."
        )
    try:
        config = PeftConfig.from_pretrained(folder)
        with safe_open(Path(folder) / SAFETENSORS_WEIGHTS_NAME, "pt") as file:
            saved = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise AdapterError(
            f"{where} holds no adapter that can be read ({str(error).splitlines()[0]}): it takes adapter_config.json and "
            f"{SAFETENSORS_WEIGHTS_NAME}, as save_pretrained writes them."
        ) from None
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    trained_on, here = config.base_model_name_or_path, base.config.name_or_path
    if trained_on and here and Path(trained_on).name != Path(here).name:
        raise AdapterError(
            f"The adapter in {where} was trained on {Path(trained_on).name}, and this model is {Path(here).name}: load that "
            "base, or train an adapter for this one."
        )
    expected = saved if config.is_prompt_learning else adapter_shapes(base, config)  # prompts stand beside the layers
    wrong = [
        f"{key} is {'missing' if key not in saved else f'{saved[key]} in the file'}, "
        f"{'unknown' if key not in expected else f'{expected[key]} in the model'}"
        for key in sorted({**expected, **saved})
        if expected.get(key) != saved.get(key)
    ]
    if wrong:
        raise AdapterError(
            f"The adapter in {where} does not fit {type(base).__name__}: {wrong[0]}"
            + (f", and {len(wrong) - 1} more of {len(expected)}." if len(wrong) > 1 else ".")
        )
    if isinstance(model, PeftModel):
        model.load_adapter(folder, adapter_name=name, is_trainable=is_trainable)
        return model
    return PeftModel.from_pretrained(model, folder, adapter_name=name, is_trainable=is_trainable)


def adapter_shapes(base: PreTrainedModel, config: PeftConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor that an adapter of `config` for `base` has on disk; nothing is allocated.

    Raises AdapterError where `config` fits no layer of `base`.
    """
    config = copy.deepcopy(config)
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # others start from the weights, and there are none here
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            empty = get_peft_model(type(base)(copy.deepcopy(base.config)), config)
    except ValueError as error:
        raise AdapterError(f"The adapter does not fit {type(base).__name__}: {error}") from None
    return {key: tuple(tensor.shape) for key, tensor in get_peft_model_state_dict(empty).items()}


def save_merged(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> int:
    """Write a merged model with its tokenizer and chat template into `folder`, all or nothing; returns the bytes written.

    Raises DiskFull where the weights would not fit, before anything is written, or while they are; what `folder` held
    before is still there then.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    need = sum(p.numel() * p.element_size() for p in {id(p): p for p in model.parameters()}.values())
    free = shutil.disk_usage(folder.parent).free
    unfinished, problem = folder.with_name(folder.name + ".unfinished"), ""
    if need > free:
        problem = f"only {free / 2**30:.2f} GiB are free"
    else:
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            model.save_pretrained(unfinished)
            tokenizer.save_pretrained(unfinished)
        except (OSError, SafetensorError) as error:  # safetensors wraps the system's error
            shutil.rmtree(unfinished, ignore_errors=True)
            problem = str(error).splitlines()[0]
    if problem:
        raise DiskFull(
            f"Merging into {folder.name} takes {need / 2**30:.2f} GiB on disk: {problem}. Free some space, or set OUTPUT_DIR "
            "to a larger disk; the adapter is untouched."
        )
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(unfinished, folder)
    return sum(path.stat().st_size for path in folder.iterdir())
