"""Twenty-two ways to fine-tune one model: the configuration of each, and how it is put into the model.

For 02-PEFT/PEFT-Methods-Compared and its benchmark. How they are trained stands in shared.peft_training: it is the same
for all.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    EvaConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    TrainableTokensConfig,
    VeraConfig,
    get_eva_state_dict,
    get_peft_model,
    initialize_lora_eva_weights,
)
from peft.tuners.boft import layer as boft_layer
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from shared.data.orders import INSTRUCTION
from shared.errors import CourseError


class MethodError(CourseError):
    """A method that is not known, or that a model cannot take."""


@dataclass(frozen=True)
class Method:
    """`rates`: the learning rates of its sweep. `merges`: it can be added into the weights it stands beside.

    `virtual`: it puts learnt tokens before the prompt.
    """

    title: str
    family: str
    rates: tuple[float, ...]
    merges: bool = False
    virtual: bool = False


LOW_RANK, ROTATION, SCALING = "low rank", "rotation", "scaling"
PROMPTS, SELECTED, MODULES, ALL = "prompts", "selected weights", "modules", "all weights"
METHODS = {
    "lora": Method("LoRA", LOW_RANK, (3e-4, 1e-3, 3e-3), merges=True),
    "qlora": Method("QLoRA", LOW_RANK, (3e-4, 1e-3, 3e-3)),
    "rslora": Method("rsLoRA", LOW_RANK, (1e-4, 3e-4, 1e-3), merges=True),
    "dora": Method("DoRA", LOW_RANK, (3e-4, 1e-3, 3e-3), merges=True),
    "pissa": Method("PiSSA", LOW_RANK, (1e-4, 3e-4, 1e-3), merges=True),
    "olora": Method("OLoRA", LOW_RANK, (1e-4, 3e-4, 1e-3), merges=True),
    "eva": Method("EVA", LOW_RANK, (3e-4, 1e-3, 3e-3), merges=True),
    "loraplus": Method("LoRA+", LOW_RANK, (1e-4, 3e-4, 1e-3), merges=True),
    "adalora": Method("AdaLoRA", LOW_RANK, (3e-3, 1e-2, 3e-2), merges=True),
    "vera": Method("VeRA", LOW_RANK, (3e-3, 1e-2, 3e-2), merges=True),
    "loha": Method("LoHa", LOW_RANK, (1e-3, 3e-3, 1e-2), merges=True),
    "lokr": Method("LoKr", LOW_RANK, (1e-3, 3e-3, 1e-2), merges=True),
    "oft": Method("OFT", ROTATION, (3e-4, 1e-3, 3e-3), merges=True),
    "boft": Method("BOFT", ROTATION, (3e-4, 1e-3, 3e-3), merges=True),
    "ia3": Method("(IA)3", SCALING, (1e-2, 3e-2, 1e-1), merges=True),
    "prefix": Method("Prefix tuning", PROMPTS, (3e-3, 1e-2, 3e-2)),
    "prompt": Method("Prompt tuning", PROMPTS, (1e-2, 3e-2, 1e-1), virtual=True),
    "ptuning": Method("P-tuning", PROMPTS, (1e-3, 3e-3, 1e-2), virtual=True),
    "lntuning": Method("LN tuning", SELECTED, (3e-3, 1e-2, 3e-2)),
    "tokens": Method("Trainable tokens", SELECTED, (1e-3, 3e-3, 1e-2)),
    "bottleneck": Method("Bottleneck adapters", MODULES, (3e-4, 1e-3, 3e-3)),
    "full": Method("Full fine-tuning", ALL, (3e-5, 1e-4, 3e-4)),
}
RANK, VIRTUAL_TOKENS, BLOCK, BOTTLENECK, LORAPLUS_RATIO = 16, 20, 32, 64, 16


def kv_shape(config) -> dict[str, int]:
    """What a prefix of keys and values needs to know of a model: how many heads they have, and their size in all.

    PEFT reads `num_key_value_heads`. Falcon has no such field: with `multi_query` there is one head, whatever the others
    say.
    """
    if getattr(config, "num_key_value_heads", None):
        return {}
    head = config.hidden_size // config.num_attention_heads
    one = getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False)
    heads = 1 if one else getattr(config, "num_kv_heads", config.num_attention_heads)
    return {"num_attention_heads": heads, "token_dim": heads * head}


def adapter_config(name: str, model: PreTrainedModel, tokens: Sequence[int], steps: int) -> PeftConfig | None:
    """PEFT's configuration of a method; None for the two that PEFT has no part in. `tokens`: those trained by "tokens"."""
    task = {"task_type": "CAUSAL_LM"}
    every = {**task, "target_modules": "all-linear"}
    lora = {**every, "r": RANK, "lora_alpha": 2 * RANK}
    prompt = {**task, "num_virtual_tokens": VIRTUAL_TOKENS}
    match name:
        case "lora" | "qlora" | "loraplus":
            return LoraConfig(**lora)
        case "rslora":
            return LoraConfig(**lora, use_rslora=True)
        case "dora":
            return LoraConfig(**lora, use_dora=True)
        case "pissa" | "olora":
            return LoraConfig(**lora, init_lora_weights=name)
        case "eva":  # the same rank for each layer
            return LoraConfig(**lora, init_lora_weights="eva", eva_config=EvaConfig(rho=1.0))
        case "adalora":
            begin, interval = steps // 10, max(1, steps // 20)
            budget = {"tinit": begin, "tfinal": steps // 3, "deltaT": interval, "total_step": steps}
            return AdaLoraConfig(**every, init_r=3 * RANK // 2, target_r=RANK, lora_alpha=2 * RANK, **budget)
        case "vera":  # the two random matrices come from a seed and are not saved
            return VeraConfig(**every, r=16 * RANK, save_projection=False)
        case "loha":  # two pairs of matrices: half the rank for the same number of parameters
            return LoHaConfig(**every, r=RANK // 2, alpha=RANK)
        case "lokr":
            return LoKrConfig(**every, r=RANK, alpha=2 * RANK)
        case "oft":
            return OFTConfig(**every, r=0, oft_block_size=BLOCK)
        case "boft":
            return BOFTConfig(**every, boft_block_size=BLOCK, boft_n_butterfly_factor=1)
        case "ia3":
            return IA3Config(**task)
        case "lntuning":
            return LNTuningConfig(**task)
        case "tokens":
            return TrainableTokensConfig(**task, token_indices=list(tokens))
        case "prefix":
            return PrefixTuningConfig(**prompt, **kv_shape(model.config), init_weights="zero")
        case "prompt":
            text = {"prompt_tuning_init_text": INSTRUCTION, "tokenizer_name_or_path": model.config.name_or_path}
            return PromptTuningConfig(**prompt, prompt_tuning_init="TEXT", **text)
        case "ptuning":
            return PromptEncoderConfig(**prompt, encoder_hidden_size=128)
        case "bottleneck" | "full":
            return None
    raise MethodError(f"No method is called {name}: take one of {', '.join(METHODS)}.")


class Bottleneck(torch.nn.Module):
    """An adapter behind a block's MLP (Pfeiffer et al. 2020, after Houlsby et al. 2019): y + up(gelu(down(y)))."""

    def __init__(self, mlp: torch.nn.Module, hidden: int, size: int, device: torch.device):
        super().__init__()
        self.mlp = mlp
        self.down = torch.nn.Linear(hidden, size, device=device)
        self.up = torch.nn.Linear(size, hidden, device=device)
        torch.nn.init.zeros_(self.up.weight)  # training starts from the unchanged model
        torch.nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        y = self.mlp(x, *args, **kwargs)
        return y + self.up(torch.nn.functional.gelu(self.down(y)))


def add_bottlenecks(model: PreTrainedModel, size: int = BOTTLENECK) -> PreTrainedModel:
    """`model`, frozen, with a trainable Bottleneck around each module called `mlp`. Raises MethodError if there is none."""
    model.requires_grad_(False)
    blocks = [module for module in model.modules() if isinstance(getattr(module, "mlp", None), torch.nn.Module)]
    if not blocks:
        raise MethodError(f"{type(model).__name__} has no module called mlp: name its MLPs in add_bottlenecks.")
    for block in blocks:
        block.mlp = Bottleneck(block.mlp, model.config.hidden_size, size, model.device)
    return model


def apply_method(
    name: str, model: PreTrainedModel, batches: Sequence[dict], steps: int, eva: Path | None = None
) -> torch.nn.Module:
    """`model` ready to be trained by a method, its trained parameters in float32. `batches`: what it will learn from.

    `eva`: a file that keeps EVA's initial matrices from one call to the next; finding them takes longer than a training.
    Raises MethodError for an unknown name, and ValueError as PEFT does where a configuration does not fit the model.
    """
    boft_layer.get_fbd_cuda = lambda: None  # PEFT would try to compile a kernel, once for each layer
    config = adapter_config(name, model, frequent_tokens(batches), steps)
    device = model.device
    if config is not None:
        if name == "pissa":  # hundreds of small singular value decompositions, which a GPU is slow at
            model.to("cpu")
        model = get_peft_model(model, config).to(device)
        if name == "eva":
            found = eva is not None and eva.is_file()
            state = (
                load_file(eva, device=str(model.device))
                if found
                else get_eva_state_dict(model, list(batches)[:8], show_progress_bar=False)
            )
            initialize_lora_eva_weights(model, eva_state_dict=state, show_progress_bar=False)
            if eva is not None and not found:
                save_file({name: tensor.contiguous() for name, tensor in state.items()}, eva)
    elif name == "bottleneck":
        model = add_bottlenecks(model)
    for parameter in model.parameters():
        if name == "full":
            parameter.requires_grad_(True)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def frequent_tokens(batches: Sequence[dict], count: int = 64) -> list[int]:
    """The `count` tokens that are learnt most often in `batches`, in ascending order."""
    counter = Counter(token for batch in batches for token in batch["labels"].flatten().tolist() if token >= 0)
    return sorted(token for token, _ in sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:count])
