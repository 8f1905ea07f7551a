"""The peer: LitGPT 0.5.13, its model and its training loop's steps (litgpt/finetune/lora.py), on random tokens.

It is no dependency of the course (it asks for older versions of what the course uses): `pip install --no-deps
litgpt==0.5.13 lightning` beside it. Its Falcon has an output matrix of its own, 295 million parameters more.
"""

import torch


def train(row, config, device: str, folder: str) -> tuple[torch.nn.Module, list[float]]:
    """The trained model and the seconds of its steps. Falcon-7B's shape, random weights, LoRA r=16."""
    import lightning
    from lightning.fabric.plugins import BitsandbytesPrecision
    from litgpt.lora import GPT, Config, mark_only_lora_as_trainable
    from litgpt.utils import chunked_cross_entropy, instantiate_bnb_optimizer, instantiate_torch_optimizer

    from tests.benchmarks.falcon_7b import WARM_UP, Moments

    names = ("query", "key", "value", "projection", "mlp")
    shape = Config.from_name(
        "falcon-7b", lora_r=16, lora_alpha=32, lora_dropout=0.0, **{f"lora_{name}": True for name in names}
    )
    quantized = row.method == "QLoRA"
    plugins = BitsandbytesPrecision("nf4-dq", torch.bfloat16) if quantized else None
    fabric = lightning.Fabric(devices=1, precision=None if quantized else "bf16-true", plugins=plugins)
    fabric.launch()
    with fabric.init_module(empty_init=False):
        model = GPT(shape)
    mark_only_lora_as_trainable(model)
    model = fabric.setup_module(model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    make = instantiate_bnb_optimizer if quantized else instantiate_torch_optimizer
    optimizer = fabric.setup_optimizers(make("AdamW", parameters))
    model.max_seq_length = row.length
    model.train()
    moments = Moments()
    for _ in range(row.steps + WARM_UP):
        for _ in range(row.accumulation):
            tokens = torch.randint(100, config.vocab_size, (row.batch, row.length)).to(fabric.device)
            logits = model(tokens, lm_head_chunk_size=128)
            logits[-1] = logits[-1][..., :-1, :]
            loss = chunked_cross_entropy(logits, tokens[..., 1:])
            fabric.backward(loss / row.accumulation)
        optimizer.step()
        optimizer.zero_grad()
        moments.mark()
    return model, moments.seconds()
