"""Falcon-7B on one GPU: memory and speed of every row of the section's tables, each in a process of its own.

    python -m tests.benchmarks.falcon_7b [--out FOLDER] [--steps N] [ROW ...]     (`make bench` on a GPU does them all)

The weights are random, of the model's exact shape; the tokens are random and new in every step. Times are medians of
whole steps, from end to end, after three to warm up. Each row leaves its receipt; a failed one too, with its error.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # to ask whether there is a GPU must not start CUDA
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # what is reserved stays near what is used

import psutil
import torch

GPU = torch.cuda.is_available()
if GPU:  # nor must importing bitsandbytes, which asks what the GPU can do: the rows are forked from this process
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    capability = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0].split(".")
    with mock.patch("torch.cuda.get_device_capability", return_value=tuple(map(int, capability))):
        import bitsandbytes  # noqa: F401

from datasets import Dataset
from peft import LoraConfig
from transformers import FalconConfig, FalconForCausalLM, TrainerCallback, set_seed
from transformers.integrations.bitsandbytes import replace_with_bnb_linear
from transformers.models.falcon.modeling_falcon import FalconRotaryEmbedding
from transformers.quantizers import AutoHfQuantizer
from transformers.trainer_pt_utils import LayerWiseDummyOptimizer
from transformers.utils.quantization_config import QuantizationMethod
from trl import SFTConfig, SFTTrainer

from shared import receipts
from shared.models import PROJECTIONS, falcon, fast_training, load_tokenizer
from shared.models.quantization import check_quantized, nf4_config
from shared.profile import PROFILES, TINY_MODEL
from shared.training import quiet
from tests.benchmarks import litgpt_peer

WARM_UP = 3
FALCON_7B = FalconConfig(
    vocab_size=65024, hidden_size=4544, num_hidden_layers=32, num_attention_heads=71, bos_token_id=11, eos_token_id=11
)

TINY = FalconConfig(vocab_size=1024, hidden_size=128, num_hidden_layers=2, num_attention_heads=2)


@dataclass(frozen=True)
class Row:
    """One measurement. `stack`: "course" (this repository's), "litgpt", or one of STEPS, the way from stock to it."""

    name: str
    method: str  # QLoRA, LoRA or full
    stack: str = "course"
    batch: int = 4
    accumulation: int = 1
    length: int = 2048
    recompute: bool | int = True  # how many layers
    offload: bool = False
    optim: str = "adamw_torch_fused"
    card_gib: float | None = None  # a card of this size is played, by a cap on what may be allocated
    steps: int = 20


# Each step with all before it: TRL as its documentation shows it; 4-bit that is 4-bit; attention on the fused kernels;
# no autocast, AdamW in one kernel, no waiting for the GPU. The next is "course": the layers of parallel_block.
STEPS = ["stock", "4-bit", "attention", "options"]

ROWS = [
    Row("qlora-balanced", "QLoRA"),
    Row("qlora-lean", "QLoRA", offload=True, optim="adamw_8bit"),
    Row("qlora-leanest", "QLoRA", batch=1, accumulation=4, offload=True, optim="adamw_8bit"),
    Row("qlora-fastest", "QLoRA", recompute=2),
    Row("lora", "LoRA", recompute=27),
    Row("memory-paged", "QLoRA", optim="paged_adamw_32bit", steps=8),  # balanced with one thing changed
    Row("memory-8-bit", "QLoRA", optim="adamw_8bit", steps=8),
    Row("memory-offload", "QLoRA", offload=True, steps=8),
    Row("memory-kept", "QLoRA", recompute=False, steps=8),
    Row("memory-accumulation", "QLoRA", batch=1, accumulation=4, steps=8),
    Row("full", "full", recompute=4, optim="adamw_8bit"),
    Row("stock-qlora", "QLoRA", stack="stock", steps=5),
    Row("stock-lora", "LoRA", stack="stock", steps=5),
    Row("step-1-4-bit", "QLoRA", stack="4-bit", steps=5),
    Row("step-2-attention", "QLoRA", stack="attention", steps=5),
    Row("step-3-options", "QLoRA", stack="options", steps=5),
    Row("litgpt-qlora", "QLoRA", stack="litgpt", batch=1, accumulation=4),
    Row("litgpt-qlora-4x2048", "QLoRA", stack="litgpt"),
    Row("litgpt-lora", "LoRA", stack="litgpt", batch=1, accumulation=4),
    Row("card-6", "QLoRA", batch=1, offload=True, optim="adamw_8bit", card_gib=6, steps=5),
    Row("card-8", "QLoRA", batch=4, offload=True, optim="adamw_8bit", card_gib=8, steps=5),
    Row("card-12", "QLoRA", batch=8, card_gib=12, steps=5),
    Row("card-16", "QLoRA", batch=12, card_gib=16, steps=5),
    Row("card-24", "QLoRA", batch=20, card_gib=24, steps=5),
    Row("card-24-lora", "LoRA", batch=4, recompute=27, card_gib=24, steps=5),
]


def random_falcon(
    config: FalconConfig, quantize: bool, device: str, repaired: bool = True, storage: torch.dtype = torch.uint8
) -> FalconForCausalLM:
    """A Falcon of random bfloat16 weights, made on the device layer by layer; its projections in NF4 if asked for.

    `storage`: the type in which 4-bit weights are kept; FSDP divides floating-point tensors only.
    """
    with torch.device("meta"):
        if repaired:
            with falcon.plain_linear_layers():
                model = FalconForCausalLM._from_config(config, dtype=torch.bfloat16)
        else:
            model = FalconForCausalLM._from_config(config, dtype=torch.bfloat16)
    if quantize:
        quantization = nf4_config(torch.bfloat16)
        quantization.bnb_4bit_quant_storage = storage
        replace_with_bnb_linear(model, ["lm_head"], quantization)
        model.is_loaded_in_4bit = model.is_quantized = True
        model.quantization_method = QuantizationMethod.BITS_AND_BYTES
        model.hf_quantizer = AutoHfQuantizer.from_config(quantization)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if "Norm" in type(module).__name__:
                value = (torch.ones if name == "weight" else torch.zeros)(parameter.shape, dtype=torch.bfloat16)
            else:
                value = torch.empty(parameter.shape, dtype=torch.bfloat16, device=device).normal_(std=0.02)
            if type(module).__name__ == "Linear4bit":
                from bitsandbytes.nn import Params4bit

                value = torch.empty(module.out_features, module.in_features, dtype=torch.bfloat16, device=device)
                value = Params4bit(
                    value.normal_(std=0.02), requires_grad=False, quant_type="nf4", quant_storage=storage
                ).to(device)
                module.weight = value
                module.quant_state = value.quant_state
            else:
                setattr(module, name, torch.nn.Parameter(value.to(device)))
    model.transformer.rotary_emb = FalconRotaryEmbedding(config).to(device)
    model.tie_weights()
    if quantize and repaired:
        check_quantized(model)
    return model


def step_in_backward(trainer: SFTTrainer) -> None:
    """Each parameter takes its step as soon as its gradient is there, which is then let go: all are never held at once.

    Neither clipping by the norm of all gradients nor accumulation is possible so.
    """
    from bitsandbytes.optim import AdamW8bit

    def step(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        parameter.grad = None

    optimizers = {p: AdamW8bit([p], lr=trainer.args.learning_rate) for p in trainer.model.parameters()}
    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(step)
    trainer.optimizer = LayerWiseDummyOptimizer(optimizer_dict=optimizers)
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: 1.0)


class Moments(TrainerCallback):
    """When each optimiser step ended, without making the GPU wait; memory is counted from the end of the first."""

    def __init__(self) -> None:
        self.marks: list = []

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.mark()

    def mark(self) -> None:
        if not torch.cuda.is_available():
            self.marks.append(time.perf_counter())
            return
        self.marks.append(torch.cuda.Event(enable_timing=True))
        self.marks[-1].record()
        if len(self.marks) == 1:
            torch.cuda.reset_peak_memory_stats()

    def seconds(self) -> list[float]:
        """From the end of one step to the end of the next, the warm-up left out."""
        pairs = itertools.pairwise(self.marks[WARM_UP - 1 :])
        if not torch.cuda.is_available():
            return [after - before for before, after in pairs]
        torch.cuda.synchronize()
        return [before.elapsed_time(after) / 1000 for before, after in pairs]


def random_rows(config: FalconConfig, rows: int, length: int) -> Dataset:
    tokens = torch.randint(100, config.vocab_size, (rows, length))
    return Dataset.from_dict({"input_ids": tokens.tolist(), "labels": tokens.tolist()})


def train(row: Row, config: FalconConfig, device: str, folder: str) -> tuple[torch.nn.Module, list[float]]:
    """The trained model and the seconds of its steps, by TRL's SFTTrainer."""
    step = STEPS.index(row.stack) if row.stack in STEPS else len(STEPS)
    course = step == len(STEPS)
    model = random_falcon(config, row.method == "QLoRA", device, repaired=step > 0)
    lora = None
    if row.method != "full":
        lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=PROJECTIONS)
    if step >= 2:
        falcon.repair_attention(model)
    if course and (reason := fast_training(model, recompute=row.recompute)):
        raise RuntimeError(reason)
    options = {"gradient_checkpointing": not course, "bf16": step < 3 and device == "cuda"}
    if step >= 3:
        options |= {"activation_offloading": row.offload, "optim": row.optim, "logging_nan_inf_filter": False}
        options["accelerator_config"] = {"non_blocking": True}
    moments = Moments()
    trainer = quiet(
        SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                max_steps=row.steps + WARM_UP,
                per_device_train_batch_size=row.batch,
                gradient_accumulation_steps=row.accumulation,
                max_length=row.length,
                learning_rate=2e-4 if lora else 1e-5,
                save_strategy="no",
                logging_steps=10**6,
                report_to=[],
                disable_tqdm=True,
                dataset_kwargs={"skip_prepare_dataset": True},
                **options,
            ),
            train_dataset=random_rows(config, (row.steps + WARM_UP) * row.batch * row.accumulation, row.length),
            processing_class=load_tokenizer(TINY_MODEL),
            peft_config=lora,
            callbacks=[moments],
        )
    )
    if course and lora:
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    if course and not lora:
        step_in_backward(trainer)
    trainer.train()
    return trainer.model, moments.seconds()


def measure(row: Row, config: FalconConfig, device: str) -> dict:
    """The receipt of one row; `error` in it where it failed."""
    began = psutil.Process().create_time()
    gpu = device == "cuda"
    context = (lambda: (torch.cuda.mem_get_info()[1] - torch.cuda.mem_get_info()[0]) / 2**30) if gpu else (lambda: 0.0)
    measured: dict[str, object] = {"context_gib": round(context(), 2)}
    if row.card_gib:
        cap = row.card_gib - measured["context_gib"]
        torch.cuda.set_per_process_memory_fraction(cap * 2**30 / torch.cuda.get_device_properties(0).total_memory)
    set_seed(42)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = litgpt_peer.train if row.stack == "litgpt" else train
            model, steps = run(row, config, device, folder)
        tokens = row.batch * row.accumulation * row.length
        measured |= receipts.parameter_counts(model)
        measured |= {"step_s": round(statistics.median(steps), 4), "steps": len(steps)}
        measured["tokens_per_s"] = round(tokens / measured["step_s"], 1)
        measured["step_s_spread"] = [round(min(steps), 4), round(max(steps), 4)]
        if gpu:
            measured["peak_gib_device"] = round(context(), 2)
    except torch.OutOfMemoryError as error:
        measured["error"] = "out of memory: " + str(error).split(". GPU", 1)[0]
    except Exception as error:  # a failed row is a result too; its traceback goes to the row's log
        traceback.print_exc()
        measured["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if gpu:
        measured["peak_gib_allocated"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
        measured["peak_gib_reserved"] = round(torch.cuda.max_memory_reserved() / 2**30, 3)
    receipt = dict.fromkeys(receipts.KEYS) | {
        "name": f"falcon-7b-{row.name}",
        "metrics": {},
        "notebook": "02-PEFT/Fast-and-Lean-Falcon.ipynb",
        "profile": "full",
        "method": row.method,
        "stack": row.stack,
        "model": PROFILES["full"].model,
        "revision": PROFILES["full"].revision,
        "random_weights": True,
        "dataset": "random tokens, new in every step",
        "seed": 42,
        "batch_size": row.batch,
        "sequence_length": row.length,
        "accumulation": row.accumulation,
        "recompute": row.recompute if row.stack != "litgpt" else False,
        "optimizer": {"litgpt": "LitGPT's default", "stock": "TRL's default"}.get(row.stack, row.optim),
        "offload": row.offload,
        "card_gib": row.card_gib,
        **receipts.environment(),
        **measured,
        "wall_s": round(time.time() - began, 1),
    }
    return receipt


def write_row(row: Row, config: FalconConfig, out: Path) -> None:
    """Measure in a process of its own; what the libraries print goes to a log beside the receipt."""
    with (out / f"falcon-7b-{row.name}.log").open("w") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    receipt = measure(row, config, "cuda" if GPU else "cpu")
    receipts.write_text(out / f"falcon-7b-{row.name}.json", json.dumps(receipt, indent=2, default=str) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--tiny", action="store_true", help="a small model, to try the program itself")
    args = parser.parse_args()
    if unknown := set(args.rows) - {row.name for row in ROWS}:
        parser.error(f"no row is called {', '.join(sorted(unknown))}: see --help")
    args.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    chosen = [row for row in ROWS if not args.rows or row.name in args.rows]
    start = multiprocessing.get_context("spawn" if torch.cuda.is_initialized() else "fork")
    print("row                     peak GiB   on device   s/step    tokens/s   wall s", flush=True)
    for row in chosen:
        row = replace(row, steps=args.steps or row.steps, length=64 if args.tiny else row.length)
        path = args.out / f"falcon-7b-{row.name}.json"
        path.unlink(missing_ok=True)
        process = start.Process(target=write_row, args=(row, TINY if args.tiny else FALCON_7B, args.out))
        process.start()
        process.join()
        if process.exitcode or not path.exists():
            print(f"{row.name:22}  died with exit code {process.exitcode}: see {path.with_suffix('.log')}", flush=True)
            failed += 1
            continue
        r = json.loads(path.read_text())
        keys = ("peak_gib_allocated", "peak_gib_device", "step_s", "tokens_per_s", "wall_s")
        figures = [r.get(key) or float("nan") for key in keys]
        line = "{:22}  {:8.2f}  {:10.2f}  {:7.3f}  {:10,.0f}  {:7.1f}  {}"
        print(line.format(row.name, *figures, r.get("error", "")), flush=True)
        failed += "error" in r
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
