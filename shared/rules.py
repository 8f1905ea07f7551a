"""Rules of thumb about LoRA, the settings that test them, and the verdict that runs of those settings allow."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.experiments import Setting

MARGIN = 0.10  # losses that differ by less than this share count as the same
# Student's t, 97.5 %, for 1, 2, ... degrees of freedom (Student 1908; any table of the distribution).
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
LORA_RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
FULL_RATES = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 4e-3)


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds with its 95 % interval; of one seed there is none, and low and high are infinite."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Rule:
    """`first` is said to be better than `second`, no worse, or the same. Of several settings the best one stands."""

    text: str
    source: str
    claim: str  # "better", "no worse", "same" or "ten times" (the learning rates of the best settings)
    first: tuple[Setting, ...]
    second: tuple[Setting, ...]


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval by Student's t: values of at least two seeds, assumed to scatter normally."""
    n, mean = len(values), statistics.fmean(values)
    half = T95[n - 2] * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return Interval(mean, mean - half, mean + half, n)


def verdict(claim: str, log_ratio: Interval) -> str:
    """yes, no or not decided, from ln(loss of the first / loss of the second); below 0 the first is better.

    better: yes if the interval lies below 0, no if it lies above -MARGIN. no worse: yes if it lies below MARGIN, no if
    above 0. same: yes if it lies within the margin on both sides, no if 0 is outside. Where both hold, yes comes first.
    """
    low, high, margin = log_ratio.low, log_ratio.high, math.log1p(MARGIN)
    yes, no = {
        "better": (high < 0, low > -margin),
        "no worse": (high < margin, low > 0),
        "same": (-margin < low and high < margin, low > 0 or high < 0),
    }[claim]
    return "yes" if yes else "no" if no else "not decided"


def by_setting(runs: Sequence[dict], key: str = "heldout_loss") -> dict[Setting, dict[int, float]]:
    """`key` of each run, by setting and seed; failed runs are left out."""
    found: dict[Setting, dict[int, float]] = {}
    for run in runs:
        if run.get(key) is not None:
            found.setdefault(Setting(**run["settings"]), {})[run["seed"]] = run[key]
    return found


def best(settings: Sequence[Setting], losses: dict[Setting, dict[int, float]]) -> Setting | None:
    """The setting with the lowest mean loss, of those that were run with the most seeds."""
    known = [setting for setting in settings if setting in losses]
    most = max((len(losses[setting]) for setting in known), default=0)
    known = [setting for setting in known if len(losses[setting]) == most]
    return min(known, key=lambda setting: statistics.fmean(losses[setting].values()), default=None)


def log_ratio(first: dict[int, float], second: dict[int, float]) -> Interval | None:
    """ln(first / second) over the seeds that both have: pairs, with the same examples in the same order."""
    seeds = sorted(first.keys() & second.keys())
    return mean_interval([math.log(first[seed] / second[seed]) for seed in seeds]) if seeds else None


def optimum(losses: dict[float, float]) -> float | None:
    """The learning rate at the bottom of a parabola through the best one and its neighbours, in logarithms.

    None where the best one stands at an end: the optimum may lie outside.
    """
    rates = sorted(losses)
    at = min(range(len(rates)), key=lambda i: losses[rates[i]])
    if at in (0, len(rates) - 1):
        return None
    x, y = zip(*((math.log(rate), math.log(losses[rate])) for rate in rates[at - 1 : at + 2]), strict=True)
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])  # slopes: down, then up
    middle = [(x[0] + x[1]) / 2, (x[1] + x[2]) / 2]
    return math.exp(middle[0] + (middle[1] - middle[0]) * -left / (right - left) if right > left else x[1])


def rate_ratio(rule: Rule, losses: dict[Setting, dict[int, float]]) -> Interval | None:
    """ln of how many times the best learning rate of `second` that of `first` is, over the seeds of both grids.

    None where a best rate stands at the end of its grid.
    """
    grids = [[s for s in side if s in losses] for side in (rule.first, rule.second)]
    seeds = sorted(set.intersection(*(set(losses[s]) for grid in grids for s in grid)))
    found = []
    for seed in seeds:
        pair = [optimum({s.learning_rate: losses[s][seed] for s in grid}) for grid in grids]
        if None in pair:
            return None
        found.append(math.log(pair[1] / pair[0]))
    return mean_interval(found) if found else None


def judge(rule: Rule, runs: Sequence[dict]) -> dict:
    """What `runs` say of `rule`: verdict, interval (None where too little was run), what was measured, as text."""
    losses, not_run = by_setting(runs), {"verdict": "not run", "interval": None, "measured": ""}
    sides = [[setting for setting in side if setting in losses] for side in (rule.first, rule.second)]
    if min(len(rule.first), len(rule.second)) > 4:  # the best of two grids of learning rates
        if min(map(len, sides)) < 3:
            return not_run | {"measured": "too few learning rates"}
        rates = rate_ratio(rule, losses)
        if rates is None:
            return not_run | {"verdict": "not decided", "measured": "the best rate stands at the end of a grid"}
        if rule.claim == "ten times":
            within = math.log(5) < rates.low and rates.high < math.log(20)
            excluded = not rates.low <= math.log(10) <= rates.high
            decided = "yes" if within else "no" if excluded else "not decided"
            return {"verdict": decided, "interval": rates, "measured": f"{_spread(rates)} times"}
    first, second = (best(side, losses) for side in sides)
    ratio = log_ratio(losses[first], losses[second]) if first and second else None
    if ratio is None:
        return not_run
    return {
        "verdict": verdict(rule.claim, ratio),
        "interval": ratio,
        "measured": f"loss {_spread(ratio)} times",
        "first": first,
        "second": second,
    }


def _spread(ratio: Interval) -> str:
    text = f"{math.exp(ratio.mean):.2f}"
    return text + (f" ({math.exp(ratio.low):.2f} to {math.exp(ratio.high):.2f})" if ratio.n > 1 else " (one seed)")


def plan(base: Setting, attention_rank: int) -> dict[str, dict[str, Setting]]:
    """The settings of each experiment, by name; each differs in little from `base`, which belongs to all of them.

    At `attention_rank` adapters on attention have as many parameters as `base` (shared.experiments.matching_rank).
    """

    def change(**fields) -> Setting:
        return replace(base, **fields)

    r, rate, batch, high = base.rank, base.learning_rate, base.batch_size, 128
    epoch = max(1, base.steps // 3)  # steps of one epoch, where epochs are compared
    return {
        "rank": {f"rank {rank}": change(rank=rank, alpha=2 * rank) for rank in (1, 4, 32, 64, high)},
        "alpha": {
            "alpha = r": change(alpha=r),
            "alpha = 4r": change(alpha=4 * r),
            "alpha = r, rate x 2": change(alpha=r, learning_rate=2 * rate),
            "rank 128, alpha 2r": change(rank=high, alpha=2 * high),
            "rank 128, alpha kept": change(rank=high, alpha=2 * r),
            "rank 128, alpha kept, rate x 8": change(rank=high, alpha=2 * r, learning_rate=high // r * rate),
            "rank 128, rsLoRA": change(rank=high, alpha=2 * math.sqrt(r), rslora=True),  # at rank r the scale of `base`
        },
        "targets": {
            "attention": change(targets="attention"),
            "MLP": change(targets="mlp"),
            "attention, as many parameters": change(targets="attention", rank=attention_rank, alpha=2 * attention_rank),
        },
        "learning-rate": {f"rate {x:g}": change(learning_rate=x) for x in LORA_RATES}
        | {f"full fine-tuning, rate {x:g}": change(targets="everything", learning_rate=x) for x in FULL_RATES}
        | {
            f"four times the steps, rate {x:g}": change(learning_rate=x, steps=4 * base.steps)
            for x in (2e-4, rate if rate != 2e-4 else 1e-3)
        },
        "dropout": {f"dropout {share}": change(dropout=share) for share in (0.05, 0.1, 0.3)},
        "data": {f"{n} examples": change(examples=n) for n in (4 * batch, 16 * batch)}
        | {f"epochs {n}": change(examples=epoch * batch, steps=epoch * n) for n in (1, 2, 4, 8)},
    }


def rules(base: Setting, attention_rank: int) -> list[Rule]:
    """The rules of thumb that the settings of `plan` test."""
    p = plan(base, attention_rank)
    rank, alpha, targets, rate, dropout, data = (tuple(p[name].values()) for name in p)
    lora, full, longer = rate[: len(LORA_RATES)], rate[len(LORA_RATES) : -2], rate[-2:]
    at_2e4 = tuple(s for s in lora if s.learning_rate == 2e-4)
    others = tuple(s for s in lora if s not in at_2e4)
    r, b, hu, rs = base.rank, (base,), "Hu 2021", "Kalajdzievski 2023"
    dettmers, schulman = "Dettmers 2023", "Schulman 2025"
    return [
        Rule(f"rank {r} is better than rank 1", "common practice", "better", b, rank[:1]),
        Rule(f"rank {r} is better than rank 4", "common practice", "better", b, rank[1:2]),
        Rule(
            f"rank {r} or 32 is enough, 64 or 128 gains nothing",
            "common practice",
            "no worse",
            (base, rank[2]),
            rank[3:],
        ),
        Rule("alpha = 2r is better than alpha = r", "common practice", "better", b, alpha[:1]),
        Rule("alpha = r at twice the learning rate is the same as alpha = 2r", hu, "same", alpha[2:3], b),
        Rule("rank 128: a fixed alpha at 8 times the rate is the same as 2r", hu, "same", alpha[5:6], alpha[3:4]),
        Rule("rank 128: rsLoRA is better than a fixed alpha", rs, "better", alpha[6:], alpha[4:5]),
        Rule("rank 128: rsLoRA is better than alpha = 2r", rs, "better", alpha[6:], alpha[3:4]),
        Rule("all linear layers are better than attention", dettmers, "better", b, targets[:1]),
        Rule("all linear layers are better than attention of as many parameters", schulman, "better", b, targets[2:]),
        Rule("all linear layers are better than MLP", dettmers, "better", b, targets[1:2]),
        Rule("2e-4 is as good as any learning rate", "common practice", "no worse", at_2e4, others),
        Rule("with four times the steps 2e-4 is good enough", "common practice", "no worse", longer[:1], longer[1:]),
        Rule("LoRA takes ten times the learning rate of full fine-tuning", schulman, "ten times", full, lora),
        Rule("LoRA is no worse than full fine-tuning, each at its best rate", schulman, "no worse", lora, full),
        Rule("dropout of 0.05 or 0.1 helps", dettmers, "better", dropout[:2], b),
        Rule("different examples are better than a few again and again", "common practice", "better", b, data[:1]),
        Rule("more than one epoch helps", "common practice", "better", data[3:], data[2:3]),
        Rule("eight epochs are no worse than two", "common practice", "no worse", data[5:], data[3:4]),
    ]
