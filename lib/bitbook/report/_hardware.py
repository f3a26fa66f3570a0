"""The figures of the FPGA notebook: reports in, axes out."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bitbook.fpga import Board, Report
from bitbook.report._style import COLOURS, figure


def design_space(reports: Mapping[str, Sequence[Report]], board: Board) -> list[Axes]:
    """Draw the latency of every design tried against its share of the board's look-up tables and of its DSPs."""
    axes = figure(columns=2, width=9, height=3.6, sharey=True)
    for axis, resource in zip(axes, ("luts", "dsps"), strict=True):
        for (name, tried), colour in zip(reports.items(), COLOURS, strict=False):
            share = [100 * report.resources[resource] / getattr(board, resource) for report in tried]
            axis.plot(share, [1e3 * report.latency for report in tried], ".", color=colour, label=name)
        axis.axvline(100 * board.usable[resource], color="0.5", linestyle="--", linewidth=1)
        axis.set(xlabel=f"{resource[:-1].upper()}s, % of {board.name}", yscale="log")
    axes[0].set(ylabel="latency, ms")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[0].yaxis.set_minor_formatter(NullFormatter())
    axes[1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def roofline(reports: Mapping[str, Report], boards: Mapping[str, Board]) -> list[Axes]:
    """Draw the layers of the fastest report of each board under the board's two bounds, a panel a board.

    reports: by the names of boards. A layer whose codes stay on chip has no traffic and stands at the right edge.
    """
    axes = figure(columns=len(reports), width=3.4 * len(reports), height=3, sharey=True)
    for axis, (name, report) in zip(axes, reports.items(), strict=True):
        board = boards[name]
        peak = report.unit.lanes * board.clock / 1e9
        intensity = np.logspace(-2, 4, 50)  # multiplications a bit
        slope = intensity * board.bits_a_cycle * board.clock / 1e9
        axis.plot(intensity, np.minimum(slope, peak), color="0.4", linewidth=1)
        work = np.array([layer.multiplications for layer in report.layers])
        bits = np.array([layer.bits for layer in report.layers])
        speed = work / np.array([layer.cycles for layer in report.layers]) * board.clock / 1e9
        where = np.where(bits > 0, work / np.maximum(bits, 1), intensity[-1])
        axis.plot(np.minimum(where, intensity[-1]), speed, ".", color=COLOURS[0])
        axis.set(xscale="log", yscale="log", title=f"{board.name}\n{report.design}", xlabel="products a bit of traffic")
    axes[0].set(ylabel="10⁹ products a second")
    return axes


def layer_times(report: Report) -> Axes:
    """Draw what computing and traffic take in each layer of a report, in cycles."""
    layers = report.layers
    (axis,) = figure(height=1.2 + 0.25 * len(layers))
    place = np.arange(len(layers))
    axis.barh(place - 0.2, [layer.compute for layer in layers], 0.4, color=COLOURS[0], label="computing")
    axis.barh(place + 0.2, [layer.memory for layer in layers], 0.4, color=COLOURS[1], label="traffic")
    axis.set_yticks(place, [layer.name.removesuffix(".weight") for layer in layers])
    axis.invert_yaxis()
    axis.set(xlabel="cycles", title=f"{report.design} on {report.board}: {1e3 * report.latency:.3g} ms")
    axis.legend(frameon=False)
    axis.grid(axis="y", visible=False)
    return axis


def waveform(trace: Mapping[str, np.ndarray], *, title: str = "") -> Axes:
    """Draw in which cycles each event of a simulation happens."""
    (axis,) = figure(height=0.8 + 0.4 * len(trace))
    for row, events in enumerate(trace.values()):
        level = np.repeat(events.astype(float), 2) * 0.7 - row
        edges = np.repeat(np.arange(len(events) + 1), 2)[1:-1]
        axis.plot(edges, level, color=COLOURS[row % len(COLOURS)], linewidth=1.2)
        axis.fill_between(edges, -row, level, color=COLOURS[row % len(COLOURS)], alpha=0.3)
    axis.set_yticks(0.35 - np.arange(len(trace)), list(trace))
    axis.set(xlabel="cycle", title=title)
    axis.grid(axis="y", visible=False)
    return axis


def agreement(model: Sequence[float], seen: Sequence[float], *, what: str, source: str) -> Axes:
    """Draw a model's numbers against those that something else counts, with the line of equality."""
    (axis,) = figure(width=3.6, height=3.4)
    axis.plot(seen, model, ".", color=COLOURS[0])
    top = max(*seen, *model)
    axis.plot([0, top], [0, top], color="0.5", linestyle="--", linewidth=1, zorder=0)
    axis.set(xlabel=f"{what}, {source}", ylabel=f"{what}, model")
    return axis
