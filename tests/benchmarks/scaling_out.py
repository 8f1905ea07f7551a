"""Falcon-7B on several GPUs of one host: speed and memory of data parallel and sharded training.

    python -m tests.benchmarks.scaling_out [--out FOLDER] [--gpus 1 2 4] [--steps N] [ROW ...]

Each row and number of GPUs runs under `accelerate launch` with a configuration of shared/accelerate, in processes of its
own, with 4 x 2048 random tokens on each GPU. The weights are random, of the model's exact shape. Times are medians of whole
steps on the slowest process, after three to warm up; the memory is the largest of all. A failed row is a receipt, too.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import torch
from peft import LoraConfig
from transformers import TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from shared import receipts
from shared.models import PROJECTIONS, falcon, fast_training, load_tokenizer
from shared.profile import PROFILES, ROOT, TINY_MODEL
from shared.training import quiet
from tests.benchmarks.falcon_7b import FALCON_7B, TINY, WARM_UP, Moments, random_falcon, random_rows

LIMIT = 240  # seconds for one row


@dataclass(frozen=True)
class Row:
    """One way to train. `config`: a file of shared/accelerate; `weights`: the type of what is trained and kept."""

    method: str  # QLoRA, LoRA or full
    config: str
    batch: int = 4
    length: int = 2048
    weights: str = "bfloat16"  # float32: with bfloat16 arithmetic
    steps: int = 10


ROWS = {
    "ddp-lora": Row("LoRA", "ddp"),
    "ddp-qlora": Row("QLoRA", "ddp"),
    "fsdp-lora": Row("LoRA", "fsdp"),
    "fsdp-qlora": Row("QLoRA", "fsdp_qlora"),
    "fsdp-full": Row("full", "fsdp"),
    "fsdp-full-fp32": Row("full", "fsdp", weights="float32"),
}


class Held(TrainerCallback):
    """GiB on this GPU between two steps, activations and gradients let go: weights and optimiser states."""

    gib = 0.0

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if torch.cuda.is_available():
            self.gib = torch.cuda.memory_allocated() / 2**30


def train(row: Row, tiny: bool, folder: str) -> tuple[SFTTrainer, list[float], dict]:
    """The trainer, the seconds of its steps, and what else was measured of this process."""
    rank = int(os.environ.get("LOCAL_RANK", 0))
    device = f"cuda:{rank}" if torch.cuda.is_available() else "cpu"
    sharded = row.config.startswith("fsdp")
    config, length = (TINY, 64) if tiny else (FALCON_7B, row.length)
    model = random_falcon(config, row.method == "QLoRA", device, storage=torch.bfloat16 if sharded else torch.uint8)
    falcon.repair_attention(model)
    if row.weights == "float32":
        model.float()
    # Sharded weights are gathered when a layer's own forward is called, which the course's layers do without.
    if not sharded and (reason := fast_training(model)):
        raise RuntimeError(reason)
    lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=PROJECTIONS)
    moments, held = Moments(), Held()
    trainer = quiet(
        SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                max_steps=row.steps + WARM_UP,
                per_device_train_batch_size=row.batch,
                max_length=length,
                learning_rate=1e-5 if row.method == "full" else 2e-4,
                gradient_checkpointing=sharded,
                bf16=row.weights == "float32",
                optim="adamw_torch_fused",
                save_strategy="no",
                logging_steps=10**6,
                logging_nan_inf_filter=False,
                accelerator_config={"non_blocking": True},
                report_to=[],
                disable_tqdm=True,
                ddp_find_unused_parameters=False,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            train_dataset=random_rows(config, 4 * (row.steps + WARM_UP) * row.batch, length),
            processing_class=load_tokenizer(TINY_MODEL),
            peft_config=None if row.method == "full" else lora,
            callbacks=[moments, held],
        )
    )
    if not sharded:  # FSDP2 wants one type among a layer's trained parameters
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    trainer.train()
    return trainer, moments.seconds(), {"tokens": row.batch * length, "held_gib": round(held.gib, 3)}


def work(name: str, tiny: bool, steps: int, out: Path) -> None:
    """One process of a row: train, and leave what was measured in a file of its rank."""
    row, rank = ROWS[name], int(os.environ.get("RANK", 0))
    row = Row(**asdict(row) | {"steps": steps or row.steps})
    set_seed(42)
    measured: dict[str, object] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            trainer, seconds, more = train(row, tiny, folder)
        measured = more | {
            "step_s": statistics.median(seconds),
            "step_s_spread": [round(min(seconds), 4), round(max(seconds), 4)],
            "steps": len(seconds),
            "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        }
    except torch.OutOfMemoryError as error:
        measured["error"] = "out of memory: " + str(error).split(". GPU", 1)[0]
    except Exception as error:
        traceback.print_exc()
        measured["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        measured |= {
            "peak_gib_allocated": round(torch.cuda.max_memory_allocated() / 2**30, 3),
            "peak_gib_reserved": round(torch.cuda.max_memory_reserved() / 2**30, 3),
            "peak_gib_device": round((total - free) / 2**30, 2),
        }
    (out / f"rank-{rank}.json").write_text(json.dumps(measured))
    sys.stdout.flush()
    os._exit("error" in measured)  # a process group that waits for a dead process would never end


def measure(name: str, gpus: int, args: argparse.Namespace) -> dict:
    """The receipt of one row on `gpus` GPUs; `error` in it where it failed."""
    row, began = ROWS[name], time.time()
    label = f"scaling-{name}-{gpus}"
    config = ROOT / "shared/accelerate" / f"{row.config}.yaml"
    launch = ["accelerate.commands.launch", "--config_file", str(config), "--num_processes", str(gpus)]
    if gpus == 1 and row.config == "ddp":
        launch = []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(visible.split(",")[:gpus])}
    if not torch.cuda.is_available():
        launch += ["--cpu"] if launch else []
    if row.weights == "float32":
        launch += ["--mixed_precision", "bf16"]
    if row.config.startswith("fsdp"):
        launch += ["--fsdp_transformer_layer_cls_to_wrap", "FalconDecoderLayer"]
    module = ["tests.benchmarks.scaling_out", name, "--work", "--steps", str(args.steps or 0)]
    command = [sys.executable, "-m", *launch, *(["-m"] if launch else []), *module, *(["--tiny"] if args.tiny else [])]
    with tempfile.TemporaryDirectory() as folder, (args.out / f"{label}.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--out", folder],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            log.write(f"stopped after {LIMIT} s\n")
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        ranks = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("rank-*.json"))]
    failed = [rank["error"] for rank in ranks if "error" in rank]
    measured: dict[str, object] = {}
    if failed or len(ranks) < gpus:
        measured["error"] = failed[0] if failed else f"{gpus - len(ranks)} of {gpus} processes left no result"
    else:
        slowest = max(ranks, key=lambda rank: rank["step_s"])
        tokens = sum(rank["tokens"] for rank in ranks)
        measured = {key: slowest[key] for key in ("step_s_spread", "steps", "trainable_parameters")}
        measured |= {"step_s": round(slowest["step_s"], 4), "tokens_per_s": round(tokens / slowest["step_s"], 1)}
    for key in ("peak_gib_allocated", "peak_gib_reserved", "peak_gib_device", "held_gib"):
        if all(key in rank for rank in ranks) and ranks:
            measured[key] = max(rank[key] for rank in ranks)
            measured[key + "_by_rank"] = [rank[key] for rank in ranks]
    return dict.fromkeys(receipts.KEYS) | {
        "name": label,
        "metrics": {},
        "notebook": "02-PEFT/Scaling-Out.ipynb",
        "profile": "full",
        "method": row.method,
        "engine": row.config,
        "weights": row.weights,
        "gpus": gpus,
        "model": PROFILES["full"].model,
        "revision": PROFILES["full"].revision,
        "random_weights": True,
        "dataset": "random tokens, new in every step",
        "seed": 42,
        "batch_size": row.batch,
        "sequence_length": row.length,
        "accumulation": 1,
        "optimizer": "adamw_torch_fused",
        **receipts.environment(),
        **measured,
        "wall_s": round(time.time() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--out", type=Path, default=Path("runs/scaling-out"))
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--tiny", action="store_true", help="a small model, to try the program itself")
    parser.add_argument("--work", action="store_true", help="be one process of a row (what the launcher starts)")
    args = parser.parse_args()
    if unknown := set(args.rows) - set(ROWS):
        parser.error(f"no row is called {', '.join(sorted(unknown))}: see --help")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.work:
        work(args.rows[0], args.tiny, args.steps, args.out)
    print("row               GPUs   peak GiB   on device   s/step    tokens/s   wall s", flush=True)
    failed = 0
    for gpus in args.gpus:
        for name in args.rows or ROWS:
            receipt = measure(name, gpus, args)
            path = args.out / f"{receipt['name']}.json"
            receipts.write_text(path, json.dumps(receipt, indent=2, default=str) + "\n")
            keys = ("peak_gib_allocated", "peak_gib_device", "step_s", "tokens_per_s", "wall_s")
            figures = [receipt.get(key) or float("nan") for key in keys]
            line = "{:16}  {:4}  {:9.2f}  {:10.2f}  {:7.3f}  {:10,.0f}  {:7.1f}  {}"
            print(line.format(name, gpus, *figures, receipt.get("error") or ""), flush=True)
            failed += bool(receipt.get("error"))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
