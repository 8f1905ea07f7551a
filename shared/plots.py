"""The course's plots: white background, told apart by marker and line and not by colour alone, numbers as text too."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from shared.evaluation import Score

# Okabe and Ito (2008): colours that people with any colour vision can tell apart.
STYLES = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": ":"},
)


def line_style(number: int) -> dict[str, str]:
    """Colour, marker and line of the curve `number`, from 0: those of STYLES first, then others; six can be told apart."""
    line = ("-", "--", ":", "-.")[number % 4]
    return {"color": STYLES[number % 3]["color"], "marker": "os^Dv*"[number % 6], "linestyle": line}


def new_figure(width: float = 6.4, height: float = 3.2) -> tuple[Figure, plt.Axes]:
    """An empty figure of `width` x `height` inches."""
    figure, axes = plt.subplots(figsize=(width, height), dpi=90, facecolor="white", layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure, axes


def loss_curve(history: Mapping[str, Sequence[tuple[int, float]]], save_to: Path | None = None) -> Figure:
    """Loss against step, a line for each name in `history`; written to `save_to` as PNG if given."""
    figure, axes = new_figure()
    for number, (name, points) in enumerate(history.items()):
        if points:
            axes.plot(*zip(*points, strict=True), label=name, markersize=4, **line_style(number))
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    if save_to:
        save_to.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(save_to)
    plt.close(figure)
    return figure


def length_histogram(lengths: Sequence[int], limit: int) -> Figure:
    """How many examples have how many tokens, and the limit beyond which they are cut."""
    figure, axes = new_figure(height=2.6)
    axes.hist(lengths, bins=min(30, max(5, len(set(lengths)))), color=STYLES[0]["color"], edgecolor="white")
    axes.axvline(limit, color=STYLES[1]["color"], linestyle="--", label=f"limit: {limit} tokens")
    axes.set(xlabel="tokens in an example", ylabel="examples")
    axes.legend(frameon=False)
    plt.close(figure)
    return figure


def score_bars(scores: Mapping[str, Score], save_to: Path | None = None) -> Figure:
    """One bar for each score with its 95 % interval and its value; written to `save_to` as PNG if given."""
    figure, axes = new_figure(height=0.6 + 0.5 * len(scores))
    for row, score in enumerate(scores.values()):
        axes.barh(row, score.value, color=STYLES[row % len(STYLES)]["color"], height=0.6, alpha=0.8)
        error = [[max(0.0, score.value - score.low)], [max(0.0, score.high - score.value)]]
        axes.errorbar(score.value, row, xerr=error, color="black", capsize=4)
        text = f"{score.value:.0%}" if score.higher_is_better else f"{score.value:.2f}"
        axes.annotate(text, (score.high, row), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    first, counts = next(iter(scores.values())), sorted({score.n for score in scores.values()})
    count = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    axes.set(xlabel=f"{first.name} (n={count}, lines: 95 % interval)")
    axes.set_xlim(0, 1.12 if first.higher_is_better else None)
    if save_to:
        figure.savefig(save_to)
    plt.close(figure)
    return figure


def named_bars(values: Mapping[str, float], label: str) -> Figure:
    """One bar for each name, its value written beside it."""
    figure, axes = new_figure(height=0.8 + 0.45 * len(values))
    bars = axes.barh(range(len(values)), list(values.values()), color=STYLES[0]["color"], height=0.6, alpha=0.8)
    axes.bar_label(bars, fmt="{:,.0f}", padding=4)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set(xlabel=label)
    axes.margins(x=0.15)
    plt.close(figure)
    return figure


def memory_against_speed(
    points: Mapping[str, tuple[float, float]], ceilings: Mapping[str, float], save_to: Path | None = None
) -> Figure:
    """`points`: name -> (GiB, tokens/s), each with its name beside it; `ceilings`: name -> tokens/s, a line each."""
    figure, axes = new_figure(height=4.2)
    taken: list[tuple[float, float]] = []
    for name, (gib, speed) in points.items():
        near = any(abs(gib - x) < 8 and abs(speed - y) < 1500 for x, y in taken)
        taken.append((gib, speed))
        course = not name.startswith(("stock", "litgpt", "step"))
        style = STYLES[0] if course else STYLES[1]
        axes.plot(gib, speed, color=style["color"], marker=style["marker"], linestyle="none")
        axes.annotate(name, (gib, speed), xytext=(6, -12 if near else 3), textcoords="offset points", fontsize=8)
    for (name, speed), line in zip(ceilings.items(), ("--", ":", "-."), strict=False):
        axes.axhline(speed, color="black", linestyle=line, linewidth=1, label=name)
    axes.set(xlabel="peak GPU memory (GiB allocated)", ylabel="tokens/s in training")
    axes.set_xlim(left=0, right=1.25 * max(gib for gib, _ in points.values()))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    if save_to:
        figure.savefig(save_to)
    plt.close(figure)
    return figure


def quality_against(points: Mapping[str, tuple[float, float, float, float]], label: str, log: bool = True) -> Figure:
    """`points`: name -> (x, share, low, high), each with its name beside it; `label` is of x, on a logarithmic axis."""
    figure, axes = new_figure(width=8, height=5)
    if log:
        axes.set_xscale("log")
    for x, share, low, high in points.values():
        error = [[max(0.0, share - low)], [max(0.0, high - share)]]
        axes.errorbar(
            x, share, yerr=error, color=STYLES[0]["color"], marker="o", markersize=4, elinewidth=0.7, alpha=0.8
        )
    axes.set(xlabel=label, ylabel="exact match (lines: 95 % interval)", ylim=(-0.03, 1.08))
    axes.margins(x=0.12)
    figure.draw_without_rendering()  # from here on it is known where a text comes to lie
    renderer = FigureCanvasAgg(figure).get_renderer()
    taken = [axes.transData.transform((x, share)) for x, share, _, _ in points.values()]
    boxes = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in taken]
    for name, (x, share, _, _) in sorted(points.items(), key=lambda item: -item[1][1]):
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "grey", "shrinkA": 0, "shrinkB": 0}
        options = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": 7, "arrowprops": line}
        text = axes.annotate(name, (x, share), **options)
        for side, rise in itertools.product((6, -6), (3, -9, *range(-18, -120, -9))):
            text.xyann = (side, rise)
            text.set_horizontalalignment("left" if side > 0 else "right")
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # without its line
            if not any(box.overlaps(other) for other in boxes) and box.y0 > axes.bbox.y0 and box.x1 < axes.bbox.x1:
                break
        boxes.append(box)
    plt.close(figure)
    return figure


def confusion_matrix(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """How many of each label (rows) were answered with which (columns): the number in each field, darker for more."""
    figure, axes = new_figure(width=0.75 * len(labels) + 2.4, height=0.45 * len(labels) + 1.2)
    axes.grid(visible=False)
    most = max(1, max(map(max, counts)))
    axes.imshow(counts, cmap="Greys", vmin=0, vmax=1.6 * most, aspect="auto")
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="center", fontweight=weight)
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="answered", ylabel="true label")
    plt.close(figure)
    return figure


def reliability(curves: Mapping[str, Sequence[tuple[int, float, float]]]) -> Figure:
    """Share of right answers against confidence; a curve for each name, of bins (examples, confidence, share right)."""
    figure, axes = new_figure(width=4.6, height=3.8)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, label="as sure as right")
    for (name, bins), style in zip(curves.items(), STYLES, strict=False):
        _, sure, right = zip(*bins, strict=True)
        axes.plot(sure, right, label=name, markersize=5, **style)
    axes.set(xlabel="mean confidence in a bin", ylabel="share of right answers", xlim=(0, 1.03), ylim=(-0.03, 1.03))
    axes.legend(frameon=False, fontsize=8)
    plt.close(figure)
    return figure


def against_gpus(panels: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]) -> Figure:
    """`panels`: label -> {"engine-method": (GPUs, value) points}, a panel each side by side.

    A method has one colour and marker in all panels, and an engine one line.
    """
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(3.6 * len(panels), 3.9), dpi=90, facecolor="white", layout="constrained", squeeze=False
    )
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    engines, methods = (list(dict.fromkeys(name.partition("-")[part] for name in names)) for part in (0, 2))
    for axes, (label, curves) in zip(all_axes[0], panels.items(), strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        for name, points in curves.items():
            engine, _, method = name.partition("-")
            line = line_style(engines.index(engine))["linestyle"]
            style = line_style(methods.index(method)) | {"linestyle": line}
            axes.plot(*zip(*points, strict=True), label=name, markersize=6, fillstyle="none", **style)
        axes.set(xlabel="GPUs", ylabel=label, xticks=sorted({gpus for points in curves.values() for gpus, _ in points}))
        axes.set_ylim(bottom=0)
    figure.legend(
        *all_axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    plt.close(figure)
    return figure
