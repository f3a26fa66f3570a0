"""The figures of the notebooks: numbers in, axes out; nothing here computes a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from bitbook.codes import Ledger
from bitbook.report._style import COLOURS, figure

if TYPE_CHECKING:
    import pandas as pd

KILO = FuncFormatter(lambda value, _: f"{value / 1000:g}")


def training_curves(history: Mapping[str, Sequence[float]]) -> list[Axes]:
    """Draw each quantity of a training over its epochs, one panel each."""
    axes = figure(columns=len(history), width=3.6 * len(history), height=2.8)
    for axis, (name, values) in zip(axes, history.items(), strict=True):
        axis.plot(range(1, len(values) + 1), values)
        axis.set(xlabel="epoch", title=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes


def layer_spread(tensors: Mapping[str, np.ndarray]) -> Axes:
    """Draw the spread of each layer's weights: the middle half as a box, the whole range as whiskers."""
    (axis,) = figure(height=1 + 0.22 * len(tensors))
    boxes = axis.boxplot(
        [tensor.ravel() for tensor in tensors.values()],
        tick_labels=[f"{name.removesuffix('.weight')}  ({tensor.size:,})" for name, tensor in tensors.items()],
        orientation="horizontal",
        whis=(0, 100),
        patch_artist=True,
        medianprops={"color": "0.2"},
    )
    for box in boxes["boxes"]:
        box.set(facecolor=COLOURS[0], edgecolor="0.2")
    axis.invert_yaxis()
    axis.set(xlabel="weight", title="spread of each layer's weights (count)")
    axis.grid(axis="y", visible=False)
    return axis


def weight_histogram(weights: np.ndarray, values: np.ndarray, counts: np.ndarray) -> Axes:
    """Draw the distribution of all weights, and the share of them that each centroid holds."""
    left, right = figure(columns=2, width=9, height=3)
    left.hist(weights, bins=200, color=COLOURS[0], linewidth=0)
    left.set(yscale="log", xlabel="weight", ylabel="weights", title="all weights")
    left.xaxis.set_major_locator(MaxNLocator(6))
    right.vlines(values, 0, counts / counts.sum(), color=COLOURS[1], linewidth=2)
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.xaxis.set_major_locator(MaxNLocator(6))
    right.set(xlabel="centroid", ylabel="share of weights", title=f"{len(values)} centroids", xlim=left.get_xlim())
    return right


def drift(weights: Mapping[str, np.ndarray], values: np.ndarray, *, title: str = "") -> list[Axes]:
    """Draw how one layer's weights lie at several times, a panel each, and centroids as dashed lines."""
    columns, rows = min(4, len(weights)), -(-len(weights) // 4)
    axes = figure(columns=columns, rows=rows, width=2.6 * columns, height=2.4 * rows)
    span = max(float(np.abs(tensor).max()) for tensor in weights.values())
    for axis in axes[len(weights) :]:
        axis.set_axis_off()
    for axis, (name, tensor) in zip(axes, weights.items(), strict=False):
        axis.hist(tensor.ravel(), bins=np.linspace(-span, span, 121).tolist(), color=COLOURS[0], linewidth=0)
        for value in values:
            axis.axvline(value, color=COLOURS[1], linestyle="--", linewidth=1)
        axis.set(xlabel="weight", title=name, yticks=[])
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axes[0].figure.suptitle(title)
    return axes


def fronts(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    ylabel: str,
    points: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    level: tuple[str, float] | None = None,
    percent: bool = True,
    joined: bool = True,
    logarithmic: bool = False,
    ylim: tuple[float | None, float | None] | None = None,
) -> Axes:
    """Draw fronts of quality against size, with points of others and the level of the float network.

    curves, points: (bytes (n,), values (n,)) by name; an empty curve keeps a colour free. percent: the values are
    fractions of 1; otherwise the axis is logarithmic. joined: whether lines join the points of a curve. logarithmic:
    the axis of bytes is.
    """
    (axis,) = figure(height=4)
    marks = "." if joined and len(curves) <= 4 else "o^svPX*dh"  # points or many curves differ by more than colours
    for (name, (sizes, values)), colour, mark in zip(curves.items(), cycle(COLOURS), cycle(marks), strict=False):
        style = "-" if joined else ""
        axis.plot(sizes, values, linestyle=style, marker=mark, color=colour, label=name if len(sizes) else None)
    for (name, (sizes, values)), mark in zip((points or {}).items(), cycle("DsXP"), strict=False):
        axis.plot(sizes, values, mark, color="0.25", label=name, markersize=6)
    if level:
        axis.axhline(level[1], color="0.5", linestyle="--", linewidth=1, label=level[0], zorder=0)
    if percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    else:
        axis.set_yscale("log")
    axis.xaxis.set_major_formatter(KILO)
    if logarithmic:
        _logarithmic_bytes(axis)
    axis.set(xlabel="file, kB", ylabel=ylabel, ylim=ylim)
    _legend(axis, most=6 if joined else 0)
    return axis


def _legend(axis: Axes, *, most: int = 6) -> None:
    """Name what is drawn: within the axes, or below them where a long list would hide it."""
    drawn: Any = axis.figure
    entries = axis.get_legend_handles_labels()
    if len(entries[1]) <= most:
        axis.legend(frameon=False)
        return
    drawn.legend(*entries, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    drawn.set_figheight(drawn.get_figheight() + 0.22 * -(-len(entries[1]) // 3))


def _logarithmic_bytes(axis: Axes) -> None:
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    subs: dict[float, list[float]] = {
        20: [1, 2, 5],
        3: [1, 1.5, 2, 3, 4, 5, 7],
        1.6: [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8],
    }
    chosen = next((subs[span] for span in subs if high > span * low), np.arange(1, 10, 0.5).tolist())
    axis.xaxis.set_major_locator(LogLocator(subs=chosen))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_formatter(KILO)


def comparison(points: pd.DataFrame, *, title: str = "", within: float = 0.06) -> Axes:
    """Draw every method's accuracy against bytes, with its spread over seeds, peers, and the float network.

    points: columns method, family, kind, file_bytes, top1, std, epochs and float_value, a row a file. A method has a
    colour, a family a line; hollow marks are files without retraining. Peers are black where measured here and grey
    crosses where quoted. within: the loss down to which is drawn.
    """
    (axis,) = figure(width=8.4, height=5)
    level = points.float_value.max()
    ours = points[points.kind == "ours"]
    for (method, rows), colour in zip(ours.groupby("method", sort=False), COLOURS, strict=False):
        axis.plot([], [], "o-", color=colour, label=method)
        for _, line in rows.sort_values("file_bytes").groupby("family", sort=False):
            axis.plot(line.file_bytes, line.top1, color=colour, linewidth=0.6, alpha=0.5)
            axis.errorbar(line.file_bytes, line.top1, line["std"].fillna(0), color=colour, linewidth=0, elinewidth=1.2)
            for trained, dots in line.groupby(line.epochs > 0):
                axis.plot(
                    dots.file_bytes, dots.top1, "o", color=colour, mfc=colour if trained else "white", markersize=5
                )
    others = points[points.kind != "ours"].sort_values("file_bytes")
    for (name, kind), mark in zip(
        others.groupby(["method", "kind"], sort=False).groups, cycle("DsXP^v*<>ph"), strict=False
    ):
        line = others[others.method == name]
        style: dict[str, Any] = (
            {"color": "0.1", "linewidth": 0.5}
            if kind == "measured"
            else {"color": "0.5", "linewidth": 0, "mfc": "white"}
        )
        label = "baseline: one grid step" if name == "baseline" else f"{name} ({kind})"
        axis.plot(line.file_bytes, line.top1, marker=mark, markersize=5, label=label, **style)
    axis.axhline(level, color="0.5", linestyle="--", linewidth=1, label="float network", zorder=0)
    limits = (level - within, min(1, max(level, points.top1.max()) + 0.15 * within))
    shown = points[points.top1 > limits[0]].file_bytes
    axis.set(xlabel="file, kB", ylabel="top-1", title=title, ylim=limits, xlim=(0.9 * shown.min(), 1.1 * shown.max()))
    _logarithmic_bytes(axis)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    _legend(axis)
    return axis


def lines(
    x: np.ndarray, curves: Mapping[str, np.ndarray], *, xlabel: str, ylabel: str, title: str = "", kilo: bool = True
) -> Axes:
    """Draw several quantities over one, in thousands where they are bytes."""
    (axis,) = figure()
    for name, values in curves.items():
        axis.plot(x, values, marker="." if len(x) < 10 else "", label=name)
    if len(x) < 10:
        axis.set_xticks(x)
    elif np.issubdtype(np.asarray(x).dtype, np.integer):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if kilo:
        axis.yaxis.set_major_formatter(KILO)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title, ylim=(0, None))
    _legend(axis)
    return axis


def channel_depths(depths: Mapping[str, np.ndarray], *, title: str = "") -> list[Axes]:
    """Draw the bit depth of every channel over the epochs, a panel a layer.

    depths: arrays (epochs + 1, channels) by layer.
    """
    highest = max(array.max() for array in depths.values())
    rows = -(-len(depths) // 4)
    axes = figure(columns=min(4, len(depths)), rows=rows, width=9, height=0.4 + 1.9 * rows)
    for axis, (name, array) in zip(axes, depths.items(), strict=False):
        order = np.argsort(-array[-1], kind="stable")
        colours = {"cmap": "viridis", "vmin": 0, "vmax": highest, "interpolation": "none"}
        image = axis.imshow(array[:, order].T, aspect="auto", **colours)
        axis.set(title=name.removesuffix(".weight"), xlabel="epoch", ylabel="channel")
        axis.grid(visible=False)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axis in axes[len(depths) :]:
        axis.set_axis_off()
    axes[0].figure.colorbar(image, ax=axes, label="bits")
    axes[0].figure.suptitle(title)
    return axes


def bars(values: Mapping[str, float], *, xlabel: str, title: str = "") -> Axes:
    """Draw one bar for each name."""
    (axis,) = figure(height=1 + 0.22 * len(values))
    axis.barh(list(values), list(values.values()), color=COLOURS[0])
    axis.invert_yaxis()
    axis.set(xlabel=xlabel, title=title)
    axis.grid(axis="y", visible=False)
    return axis


def matrices(panels: Mapping[str, np.ndarray], *, label: str) -> list[Axes]:
    """Draw matrices side by side, on one scale of colours about zero.

    label: what their numbers are.
    """
    axes = figure(columns=len(panels), width=3.4 * len(panels), height=3.4)
    extent = max(np.abs(panel).max() for panel in panels.values())
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        picture = axis.imshow(panel, aspect="auto", cmap="RdBu", vmin=-extent, vmax=extent)
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(visible=False)
    axes[0].figure.colorbar(picture, ax=axes, shrink=0.8, label=label)
    return axes


def ledger(ledger: Ledger, *, title: str = "") -> Axes:
    """Draw where the bytes of a file go, largest part first."""
    parts = ledger.by_part()
    (axis,) = figure(height=0.5 + 0.4 * len(parts))
    bars = axis.barh(list(parts), list(parts.values()), color=COLOURS[0])
    axis.bar_label(bars, [f"{size:,} B ({size / ledger.total:.1%})" for size in parts.values()], padding=4)
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(KILO)
    axis.set(xlabel="kB", title=title or f"{ledger.total:,} bytes", xlim=(0, 1.3 * max(parts.values())))
    axis.grid(visible=False)  # each bar says its bytes
    return axis


def objectives(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    xlabel: str,
    ylabel: str,
    level: tuple[str, float] | None = None,
    over_time: bool = False,
    logarithmic: bool = False,
) -> Axes:
    """Draw fronts of two costs as steps, with what no solution reaches below each.

    curves: costs (n,) and (n,) by name. level: a name and a value of the second cost, drawn across. over_time: the
    curves are stages of one search, drawn in darkening shades instead of colours. logarithmic: both axes are.
    """
    (axis,) = figure(height=4)
    darkening = colormaps["viridis_r"](np.linspace(0, 1, len(curves) + 2)[1:-1])[:, :3]
    shades = list(darkening) if over_time else COLOURS
    for number, (name, (first, second)) in enumerate(curves.items()):
        order = np.argsort(first, kind="stable")
        colour = shades[number % len(shades)]
        axis.step(np.asarray(first)[order], np.asarray(second)[order], where="post", color=colour, linewidth=1)
        axis.plot(np.asarray(first)[order], np.asarray(second)[order], ".", color=colour, label=name)
    if level:
        axis.axhline(level[1], color="0.5", linestyle="--", linewidth=1, label=level[0], zorder=0)
    if logarithmic:
        axis.set(xscale="log", yscale="log")
        for scale, numbers in ((axis.xaxis, (1, 2, 3, 4, 6, 8)), (axis.yaxis, (1, 3))):
            scale.set_major_locator(LogLocator(subs=numbers))
            scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            scale.set_minor_formatter(NullFormatter())
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend(frameon=False)
    return axis


def merged_bins(
    values: np.ndarray, counts: np.ndarray, merged: np.ndarray, merged_counts: np.ndarray, *, title: str = ""
) -> Axes:
    """Draw the share of the weights that each centroid holds, before merging and, mirrored below, after it."""
    (axis,) = figure(height=3.2)
    total = counts.sum()
    axis.vlines(values, 0, counts / total, color=COLOURS[0], linewidth=1.5, label=f"{len(values)} before")
    axis.vlines(merged, 0, -merged_counts / total, color=COLOURS[1], linewidth=1.5, label=f"{len(merged)} after")
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.set_yscale("symlog", linthresh=1e-4)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):.2%}"))
    axis.set(xlabel="centroid", ylabel="share of weights", title=title)
    axis.legend(frameon=False)
    return axis


def layer_shares(shares: Mapping[str, np.ndarray], sizes: np.ndarray, *, xlabel: str, title: str = "") -> Axes:
    """Draw a row for each layer and a column for each file.

    shares: (files,) by the layer's name. sizes: (files,), the bytes of the files.
    """
    (axis,) = figure(height=1.2 + 0.2 * len(shares))
    table = np.array(list(shares.values()))
    picture = axis.imshow(table, aspect="auto", cmap="viridis", interpolation="nearest")
    axis.set_yticks(range(len(shares)), list(shares))
    axis.set_xticks(range(len(sizes)), [f"{size / 1000:.3g}" for size in sizes])
    axis.set(xlabel="file, kB", title=title)
    axis.grid(visible=False)
    axis.figure.colorbar(picture, ax=axis, label=xlabel)
    return axis


def waterfall(
    steps: Mapping[str, float], *, title: str = "", baseline: float | None = None, chained: bool = True
) -> Axes:
    """Draw the bytes that are left after each step, and what the step took off or added, from the top.

    baseline: bytes of a dashed line, which each step is compared with. chained: each step has those before it.
    """
    (axis,) = figure(height=1.2 + 0.42 * len(steps))
    names, left = list(steps), np.array(list(steps.values()))
    before = np.concatenate([left[:1], left[:-1]]) if chained else left
    axis.barh(names, np.minimum(left, before), color=COLOURS[0])
    axis.barh(names, np.abs(before - left), left=np.minimum(left, before), color=COLOURS[1], alpha=0.5)
    for row, (now, then) in enumerate(zip(left, before, strict=True)):
        change = f" ({now / then - 1:+.1%})" if row and chained else ""
        against = f"; {now / baseline - 1:+.0%} to the baseline" if baseline else ""
        axis.text(max(now, then, baseline or 0), row, f" {now / 1000:,.1f} kB{change}{against}", va="center")
    if baseline:
        label = f"baseline, one grid step: {baseline / 1000:,.1f} kB"
        axis.axvline(baseline, color="0.3", linestyle="--", linewidth=1, label=label)
        axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), fontsize="small")
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(KILO)
    axis.set(xlabel="kB", xlim=(0, (2.1 if baseline else 1.4) * max(left.max(), baseline or 0)))
    axis.figure.suptitle(title, x=0.01, ha="left")
    axis.grid(visible=False)
    return axis
