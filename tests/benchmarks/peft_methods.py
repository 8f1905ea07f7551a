"""Twenty-two fine-tuning methods on one task: the receipts behind 02-PEFT/PEFT-Methods-Compared.

    python -m tests.benchmarks.peft_methods --out FOLDER [--model PATH] [--methods lora,dora,...] [--steps N] [--workers K]

First each method is timed alone, for its step time and peak memory. Then worker processes share the device: for each
method a sweep over its learning rates (seed 0, chosen by the loss on validation examples; where the best stands at an
end of the list, the next value beyond is tried, at most twice), then three other seeds at the best, scored on held-out
messages. Each method leaves its receipt, also one that failed; a table comes last.
"""

import argparse
import gc
import json
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # many processes share one memory
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import set_seed

from shared import peft_training, receipts
from shared.data import ORDERS_HELDOUT, ORDERS_TRAIN, few_shot_prefix, load_examples
from shared.evaluation import share_score
from shared.models import default_dtype, load_model, load_tokenizer
from shared.models.quantization import nf4_config
from shared.models.weights import find_weights
from shared.peft_methods import METHODS, apply_method
from shared.profile import PROFILES

SWEEP_SEED, SEEDS, WARM_UP, TIMED, VALIDATION = 0, (1, 2, 3), 3, 8, 128
GPU = torch.cuda.is_available()


@dataclass(frozen=True)
class Setting:
    """What is the same for all methods."""

    weights: str
    model: str
    steps: int
    batch: int
    prompts: int
    folder: str  # for EVA's matrices
    source: str = "folder"
    length: int = 512


@dataclass
class Progress:
    """What is known of a method so far."""

    timing: dict = field(default_factory=dict)
    sweep: dict[float, float] = field(default_factory=dict)  # learning rate: validation loss
    runs: dict[int, dict] = field(default_factory=dict)  # by seed
    rate: float | None = None
    open: int = 0  # runs handed out and not back
    error: str | None = None


@cache
def data(weights: str):
    """The tokenizer, and training, validation and held-out examples: cached in each worker."""
    examples = load_examples(None, ORDERS_TRAIN, ORDERS_HELDOUT, seed=0)
    return load_tokenizer(weights), examples, examples.train[:-VALIDATION], examples.train[-VALIDATION:]


def build(setting: Setting, name: str, seed: int, steps: int) -> tuple[torch.nn.Module, list[dict]]:
    """The model with the method in it, and its batches: the same for every method with that seed."""
    tokenizer, _, train, _ = data(setting.weights)
    set_seed(seed)
    torch.set_float32_matmul_precision("high")  # float32 weights, TensorFloat-32 products, for every method
    batches = peft_training.make_batches(tokenizer, train, setting.batch, steps, seed, setting.length)
    quantize = nf4_config(default_dtype()) if name == "qlora" else None
    model = load_model(setting.weights, quantize=quantize, dtype=torch.float32)
    return apply_method(name, model, batches, setting.steps, Path(setting.folder) / "eva.safetensors"), batches


def start() -> None:
    """A worker: one thread, and no warnings that each run would repeat."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()


def free() -> None:
    gc.collect()
    if GPU:
        torch.cuda.empty_cache()


def time_alone(setting: Setting, name: str) -> dict:
    """Step time, peak memory, sizes: of a few steps with nothing else on the device."""
    free()
    model, batches = build(setting, name, SWEEP_SEED, WARM_UP + TIMED)
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    rate, seconds = METHODS[name].rates[0], []

    def synchronise(*_):
        if GPU:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter())

    model.register_forward_pre_hook(synchronise)  # from the beginning of one step to that of the next
    peft_training.train(name, model, batches, rate)
    synchronise()
    steps = [after - before for before, after in zip(seconds[WARM_UP:], seconds[WARM_UP + 1 :], strict=False)]
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches[WARM_UP:]) / TIMED
    found = receipts.parameter_counts(model)
    found |= {"step_s": round(statistics.median(steps), 4), "tokens_per_s": round(tokens / statistics.median(steps), 1)}
    for key, peak in (("allocated", "max_memory_allocated"), ("reserved", "max_memory_reserved")):
        found[f"peak_gib_{key}"] = round(getattr(torch.cuda, peak)() / 2**30, 3) if GPU else None
    return found


def train_once(setting: Setting, name: str, rate: float, seed: int, score: bool) -> dict:
    """One training: validation loss, and with `score` the field F1 of each held-out answer."""
    began = time.time()
    for attempt in range(4):
        try:
            free()
            model, batches = build(setting, name, seed, setting.steps)
            losses = peft_training.train(name, model, batches, rate)["losses"]
            break
        except torch.OutOfMemoryError:  # of what the processes share: wait until others are done
            model = batches = None
            if attempt == 3:
                raise
            free()
            time.sleep(15)
    tokenizer, examples, _, validation = data(setting.weights)
    validation = peft_training.make_batches(tokenizer, validation, 16, max_length=setting.length)
    answers = peft_training.answer_losses(model, validation)
    found = {"validation": sum(loss for loss, _ in answers) / sum(tokens for _, tokens in answers)}
    if score:
        heldout = examples.heldout[: setting.prompts]
        found["adapter_bytes"] = peft_training.adapter_bytes(model)  # after the last step: AdaLoRA's shrinks
        found["f1"] = peft_training.answer_f1(name, model, tokenizer, heldout, batch_size=100)
    found |= {"last_losses": [round(loss, 4) for loss in losses[-5:]], "wall_s": round(time.time() - began, 1)}
    del model
    free()
    return found


def untuned(setting: Setting) -> list[float]:
    """Field F1 of the untuned model's answers, an instruction and an example before each message."""
    tokenizer, examples, _, _ = data(setting.weights)
    model = load_model(setting.weights, dtype=torch.float32)
    heldout = examples.heldout[: setting.prompts]
    return peft_training.answer_f1("full", model, tokenizer, heldout, 100, prefix=few_shot_prefix(examples))


def beyond(rate: float, up: bool) -> float:
    """The neighbour of a rate in ..., 0.001, 0.003, 0.01, 0.03, ..."""
    one = f"{rate:.0e}".startswith("1")
    return float(f"{rate * (3 if one == up else 10 / 3) ** (1 if up else -1):.0e}")


def next_rate(sweep: dict[float, float], listed: tuple[float, ...]) -> float | None:
    """The rate beyond the best one where that stands at an end, at most two beyond the list on either side; else None."""
    usable = {rate: loss for rate, loss in sweep.items() if math.isfinite(loss)}
    if not usable:
        return None
    best, rates = min(usable, key=usable.get), sorted(sweep)
    if best == rates[-1] and best < max(listed) * 9:
        return beyond(best, up=True)
    if best == rates[0] and best > min(listed) / 9:
        return beyond(best, up=False)
    return None


def receipt(setting: Setting, name: str, progress: Progress, before: list[float] | None) -> dict:
    """The receipt of a method; `error` in it where there is no score."""
    _, examples, _, _ = data(setting.weights)
    runs, metrics = progress.runs, {}
    if runs and before:
        exact = [[value == 1.0 for value in run["f1"]] for run in runs.values()]
        metrics = {
            "before": share_score("exact match", [value == 1.0 for value in before]).as_dict(),
            "after": peft_training.seeds_score("exact match", exact).as_dict(),
            "field F1 after": peft_training.seeds_score("field F1", [run["f1"] for run in runs.values()]).as_dict(),
        }
    measured = {
        "name": f"methods-{name}",
        "notebook": "02-PEFT/PEFT-Methods-Compared.ipynb",
        "profile": "full",
        "method": METHODS[name].title,
        "family": METHODS[name].family,
        "model": setting.model,
        "revision": PROFILES["small"].revision if setting.source.startswith("hub") else None,
        "weights_source": setting.source,
        "random_weights": False,
        "dataset": examples.source,
        "dataset_sha256": examples.sha256,
        **receipts.environment(),
        "seed": sorted(runs),
        "batch_size": setting.batch,
        "sequence_length": setting.length,
        "accumulation": 1,
        "steps": setting.steps,
        "learning_rate": progress.rate,
        "sweep_seed": SWEEP_SEED,
        "sweep": {f"{rate:g}": round(loss, 4) for rate, loss in sorted(progress.sweep.items())},
        **progress.timing,
        "adapter_bytes": next((run["adapter_bytes"] for run in runs.values()), None),
        "wall_s": round(sum(run["wall_s"] for run in runs.values()), 1),
        "metrics": metrics,
        "interval": "bootstrap over seeds and messages, no narrower than Wilson's for as many messages",
        "per_seed": {
            seed: {
                "exact match": statistics.fmean(value == 1.0 for value in run["f1"]),
                "field F1": round(statistics.fmean(run["f1"]), 4),
                "validation": round(run["validation"], 4),
                "last_losses": run["last_losses"],
            }
            for seed, run in sorted(runs.items())
        },
    }
    if not metrics:
        measured["error"] = progress.error or "no run came to its end in the time given"
    elif progress.error:
        measured["note"] = progress.error
    return dict.fromkeys(receipts.KEYS) | measured


def first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]


class Benchmark:
    """Hands out the runs of all methods, and writes a receipt as soon as a method is done."""

    def __init__(self, setting: Setting, names: list[str], out: Path, deadline: float):
        self.setting, self.out, self.deadline = setting, out, deadline
        self.methods = {name: Progress() for name in names}
        self.before: list[float] | None = None
        self.waiting: list[tuple] = []  # (name, rate, seed, score, attempt); name None: the untuned model
        self.running: dict[Future, tuple] = {}

    def pool(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start)

    def time_all(self) -> None:
        """Each method alone; a worker that dies takes nothing but its method with it."""
        pool = self.pool(1)
        for name, progress in self.methods.items():
            began = time.time()
            try:
                progress.timing = pool.submit(time_alone, self.setting, name).result()
                step, peak = progress.timing["step_s"], progress.timing["peak_gib_allocated"]
                say(f"timed {name:11} {step:.3f} s/step, peak {peak} GiB, in {time.time() - began:.0f} s")
            except BrokenProcessPool as error:
                pool, progress.error = self.pool(1), first_line(error)
            except Exception as error:
                traceback.print_exc()
                progress.error = first_line(error)
                say(f"timed {name:11} failed: {progress.error}")
        pool.shutdown()

    def ask(self, name: str | None, rate: float, seed: int, score: bool, first: bool = False) -> None:
        self.waiting.insert(0 if first else len(self.waiting), (name, rate, seed, score, 0))
        if name:
            self.methods[name].open += 1

    def run(self, workers: int) -> None:
        pool = self.pool(workers)
        self.ask(None, 0.0, 0, True)
        for name in sorted(self.methods, key=lambda name: -self.methods[name].timing.get("step_s", 0)):
            if not self.methods[name].error:
                for rate in METHODS[name].rates:
                    self.ask(name, rate, SWEEP_SEED, False)
        while (self.waiting or self.running) and time.time() < self.deadline:
            while self.waiting and len(self.running) < workers:
                task = self.waiting.pop(0)
                arguments = (train_once, self.setting, *task[:4]) if task[0] else (untuned, self.setting)
                self.running[pool.submit(*arguments)] = task
            done, _ = wait(self.running, timeout=5, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                lost = list(self.running.values())  # a worker died, and with it the pool: once more, then give up
                pool, self.running = self.pool(workers), {}
                for *task, attempt in lost:
                    if attempt:
                        self.back(tuple(task), BrokenProcessPool("the worker died twice"))
                    else:
                        self.waiting.append((*task, 1))
                continue
            for future in done:
                *task, _ = self.running.pop(future)
                self.back(tuple(task), future.exception() or future.result())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        for name in self.methods:
            self.write(name)

    def back(self, task: tuple, result: dict | list | BaseException) -> None:
        """Take in what a run brought, and ask for what comes next."""
        name, rate, seed, score = task
        if name is None:
            if isinstance(result, BaseException):
                say(f"the untuned model failed: {first_line(result)}")
            else:
                self.before = result
            return
        progress = self.methods[name]
        progress.open -= 1
        if isinstance(result, BaseException):
            traceback.print_exception(result)
            progress.error = first_line(result)
            say(f"{name:11} rate {rate:g} seed {seed} failed: {progress.error}")
            if not score:
                progress.sweep[rate] = math.inf
        elif score:
            progress.runs[seed] = result
            exact = statistics.fmean(value == 1.0 for value in result["f1"])
            say(f"{name:11} rate {rate:g} seed {seed}: exact match {exact:.1%}, {result['wall_s']:.0f} s")
        else:
            loss = result["validation"]
            progress.sweep[rate] = loss if math.isfinite(loss) else math.inf
            say(f"{name:11} rate {rate:g}: validation loss {loss:.4f}, {result['wall_s']:.0f} s")
        if progress.open:
            return
        if progress.rate is None and (further := next_rate(progress.sweep, METHODS[name].rates)):
            self.ask(name, further, SWEEP_SEED, False, first=True)
        elif progress.rate is None and min(progress.sweep.values()) < math.inf:
            progress.rate = min(progress.sweep, key=progress.sweep.get)
            for seed in SEEDS:
                self.ask(name, progress.rate, seed, True, first=True)  # one method finished is worth two begun
        else:
            self.write(name)

    def write(self, name: str) -> None:
        made = receipt(self.setting, name, self.methods[name], self.before)
        text = json.dumps(made, indent=2, default=str).replace("Infinity", "null").replace("NaN", "null")
        receipts.write_text(self.out / f"methods-{name}.json", text + "\n")


def say(text: str) -> None:
    print(f"[{time.time() - BEGAN:5.0f} s] {text}", flush=True)


BEGAN = time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=PROFILES["small"].model, help="a folder, or a name on the Hub")
    parser.add_argument("--methods", default=",".join(METHODS), help="names joined by commas: %(default)s")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=200, help="held-out messages that are scored")
    parser.add_argument("--workers", type=int, default=max(1, min(12, (os.cpu_count() or 1) - 2)))
    parser.add_argument("--minutes", type=float, default=9.0, help="what is not done by then is left out")
    args = parser.parse_args()
    names = args.methods.split(",")
    if unknown := set(names) - set(METHODS):
        parser.error(f"no method is called {', '.join(sorted(unknown))}: they are {', '.join(METHODS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    found = find_weights(args.model, PROFILES["small"].revision if args.model == PROFILES["small"].model else None)
    model = args.model if found.source != "folder" else Path(found.path).name
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(found.path, model, args.steps, args.batch, args.prompts, folder, found.source)
        benchmark = Benchmark(setting, names, args.out, BEGAN + 60 * args.minutes)
        benchmark.time_all()
        benchmark.run(args.workers)
    print("\nmethod       trained parameters  adapter MB  peak GiB  s/step  rate     exact match          F1")
    for name in names:
        r = json.loads((args.out / f"methods-{name}.json").read_text(encoding="utf-8"))
        if r.get("error"):
            print(f"{name:11}  failed: {r['error']}")
            continue
        after = r["metrics"]["after"]
        print(
            f"{name:11}  {r['trainable_parameters']:18,}  {r['adapter_bytes'] / 1e6:10.2f}  "
            f"{r['peak_gib_allocated'] or math.nan:8.2f}  {r['step_s']:6.3f}  {r['learning_rate']:<7g}  "
            f"{after['value']:5.1%} ({after['low']:.1%} to {after['high']:.1%})  "
            f"{r['metrics']['field F1 after']['value']:.3f}",
            flush=True,
        )
    sys.exit(any("error" in json.loads((args.out / f"methods-{name}.json").read_text()) for name in names))


if __name__ == "__main__":
    main()
