"""Markdown tables made of receipts: for pages, between markers, and for notebooks."""

from pathlib import Path


def runs_table(receipts: list[dict]) -> str:
    """A Markdown table, a row for each run: profile, model, metric before and after, speed, memory, time."""

    def share(score: dict) -> str:
        form = ".0%" if score["higher_is_better"] else ".2f"
        return f"{score['value']:{form}} ({score['low']:{form}} to {score['high']:{form}})"

    metrics = {r["metrics"]["before"]["name"] for r in receipts if r["metrics"]} or {"metric"}
    rows = [
        f"| run | model | device | {' or '.join(sorted(metrics))} before | after | trained in | tokens/s | peak memory "
        "| whole notebook |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in receipts:
        if r.get("error"):
            rows.append(f"| {r['name']} | {_model(r)} | {r['device']} | failed: {r['error']} | | | | | |")
            continue
        before, after = ("–", "–") if r["random_weights"] else (share(r["metrics"][key]) for key in ("before", "after"))
        rows.append(
            f"| {r['profile']} | {_model(r)} | {r['device']} | {before} | {after} | {r['train_s']:.0f} s"
            f"{' from step ' + str(r['resumed_at_step']) if r.get('resumed_at_step') else ''} "
            f"| {r['tokens_per_s']:,.0f} | {_memory(r)} | {r['wall_s']:.0f} s |"
        )
    return "\n".join(rows)


def time_table(receipts: list[dict]) -> str:
    """A Markdown table of what notebooks take, a row for each run: profile, model, device, memory, time."""
    rows = ["| notebook | run | model | device | peak memory | time |", "|---|---|---|---|---|---|"]
    for r in receipts:
        figures = f"failed: {r['error']} | " if r.get("error") else f"{_memory(r)} | {r['wall_s']:.0f} s"
        rows.append(f"| {Path(r['notebook']).stem} | {r['profile']} | {_model(r)} | {r['device']} | {figures} |")
    return "\n".join(rows)


def _model(receipt: dict) -> str:
    return Path(receipt["model"]).name + (" (random weights)" if receipt["random_weights"] else "")


def _memory(receipt: dict) -> str:
    gpu = receipt["peak_gib_allocated"]
    return f"{gpu:.1f} GiB GPU" if gpu else f"{receipt['peak_rss_gib']:.1f} GiB"


def speed_table(receipts: list[dict]) -> str:
    """A Markdown table of training speed and memory, a row for each receipt, the fastest first within each method.

    The last column is the speed relative to the same method in the stock stack, where there is a receipt of it.
    """
    stock = {r["method"]: r["tokens_per_s"] for r in receipts if r.get("stack") == "stock" and not r.get("error")}
    rows = [
        "| setting | batch | trained parameters | peak GiB | on the device | s/step | tokens/s | to stock |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in sorted(receipts, key=lambda r: (r["method"], -(r["tokens_per_s"] or 0))):
        setting, batch = r["name"].removeprefix("falcon-7b-"), f"{r['batch_size']} x {r['sequence_length']}"
        batch += f" x {r['accumulation']}" if r["accumulation"] > 1 else ""
        if r.get("error"):
            rows.append(f"| {setting} | {batch} | failed: {r['error']} | | | | | |")
            continue
        relative = f"{r['tokens_per_s'] / stock[r['method']]:.1f}" if r["method"] in stock else "–"
        rows.append(
            f"| {setting} | {batch} | {r['trainable_parameters']:,} | {r['peak_gib_allocated']:.2f} "
            f"| {r['peak_gib_device']:.1f} | {r['step_s']:.3f} | {r['tokens_per_s']:,.0f} | {relative} |"
        )
    where = sorted({f"{r['device']}, PyTorch {r['versions']['torch']}" for r in receipts})
    return "\n".join([*rows, "", f"Measured on {'; '.join(where)}."])


def scaling_table(receipts: list[dict]) -> str:
    """A Markdown table of runs on several GPUs, a row for each receipt of tests.benchmarks.scaling_out.

    The last column is the speed over that of so many times one GPU by `ddp`, where there is a receipt of the method on one.
    """
    alone = {r["method"]: r["tokens_per_s"] for r in receipts if r["gpus"] == 1 and not r.get("error")}
    rows = [
        "| trained by | GPUs | peak GiB each | reserved | held between steps | s/step | tokens/s | to as many times one GPU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in sorted(receipts, key=lambda r: (r["method"], r["engine"], r["weights"], r["gpus"])):
        name = f"{r['method']}, {r['engine']}" + (", float32 weights and states" if r["weights"] == "float32" else "")
        if r.get("error"):
            rows.append(f"| {name} | {r['gpus']} | failed: {r['error']} | | | | | |")
            continue
        relative = f"{r['tokens_per_s'] / r['gpus'] / alone[r['method']]:.0%}" if r["method"] in alone else "–"
        rows.append(
            f"| {name} | {r['gpus']} | {r['peak_gib_allocated']:.1f} | {r['peak_gib_reserved']:.1f} | {r['held_gib']:.1f} "
            f"| {r['step_s']:.3f} | {r['tokens_per_s']:,.0f} | {relative} |"
        )
    where = sorted({f"{r['device']}, PyTorch {r['versions']['torch']}" for r in receipts})
    return "\n".join([*rows, "", f"Measured on {'; '.join(where)}."])


def methods_table(receipts: list[dict]) -> str:
    """A Markdown table of fine-tuning methods, a row for each receipt of tests.benchmarks.peft_methods, the best first."""
    done = [r for r in receipts if not r.get("error")]
    rows = [
        "| method | trained | adapter, MB | peak GiB | s/step | rate | exact match | 95 % | by seed | field F1 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in sorted(done, key=lambda r: -r["metrics"]["after"]["value"]):
        score, seeds = r["metrics"]["after"], [seed["exact match"] for seed in r["per_seed"].values()]
        peak = f"{r['peak_gib_allocated']:.2f}" if r["peak_gib_allocated"] else "–"
        rows.append(
            f"| {r['method']} | {r['trainable_parameters']:,} | {r['adapter_bytes'] / 1e6:.2f} | {peak} "
            f"| {r['step_s']:.3f} | {r['learning_rate']:g} | {score['value']:.1%} "
            f"| {score['low']:.1%} to {score['high']:.1%} | {', '.join(f'{seed:.0%}' for seed in seeds)} "
            f"| {r['metrics']['field F1 after']['value']:.3f} |"
        )
    rows += [f"| {r['method']} | no result: {r['error']} | | | | | | | | |" for r in receipts if r.get("error")]
    if not done:
        return "\n".join(rows)
    first = done[0]
    about = f"{Path(first['model']).name}, {first['device']}, {first['steps']} steps of {first['batch_size']} examples"
    n = first["metrics"]["after"]["n"]
    return "\n".join([*rows, "", f"{about}; each seed is a training of its own, judged on {n} messages."])
