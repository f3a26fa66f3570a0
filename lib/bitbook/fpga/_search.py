"""The fastest design of a kind that a board holds, and how much faster a codebook multiplies one matrix."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from types import MappingProxyType
from typing import Any

import numpy as np

from bitbook.codes import Compressed

from ._boards import Board, board
from ._network import Report, network_time
from ._resources import resources
from ._unit import Unit
from ._workload import Layer, layers

INPUTS = [1 << shift for shift in range(9)]  # also the banks of activations
SHARES = (1, 2, 4, 8, 16, 32)  # rows of a multiplier
TRIED: int | None = 4  # of each S and share, the most rows that fit
DESIGNS = MappingProxyType(
    {
        "MAC, 16 bits": {"kind": "dense", "width": 16},
        "MAC, 8 bits packed": {"kind": "dense", "width": 8, "packed": True},
        "MAC with decoder, 16 bits": {"kind": "dense", "width": 16, "coded": True},
        "MAC with decoder, 8 bits packed": {"kind": "dense", "width": 8, "packed": True, "coded": True},
        "accumulate, 16 bits": {"kind": "accumulate", "width": 16},
        "accumulate, 8 bits": {"kind": "accumulate", "width": 8},
        "accumulate sparse, 8 bits": {"kind": "accumulate", "width": 8, "sparse": True},
    }
)


def fits(unit: Unit, board: Board) -> bool:
    """Whether a board holds a unit within its usable shares."""
    return all(count <= board.budget(name) for name, count in resources(unit, board).items())


def _row_counts(layers: Sequence[Layer], step: int) -> list[int]:
    """Return the multiples of a step that change in how many groups some layer comes, the largest first."""
    sizes = {-(-rows // groups) for rows in {layer.rows for layer in layers} for groups in range(1, rows + 1)}
    return sorted({-(-size // step) * step for size in sizes}, reverse=True)


def candidates(design: str, layers: Sequence[Layer], board: Board) -> Iterator[Unit]:
    """Yield the units of a design that a board holds and that are worth a try for a network."""
    options: dict[str, Any] = dict(DESIGNS[design])
    width, coded = options.pop("width"), options.pop("coded", False)
    most = max(layer.codewords for layer in layers)
    accumulates = options["kind"] == "accumulate"
    if not most and (accumulates or (coded and all(layer.depths is None for layer in layers))):
        return
    if accumulates:
        options |= {"codewords": max(2, most), "dimension": max(layer.dimension for layer in layers)}
    elif coded:
        options["codewords"] = most
    options |= {"activation_width": width, "weight_width": width}
    largest = max(layer.columns for layer in layers)
    for inputs in INPUTS:
        depth = -(-largest // inputs)  # of the smallest dimension
        for share in SHARES if accumulates else (1,):
            units = (
                Unit(rows=n, inputs=inputs, depth=depth, multipliers=n // share if accumulates else 1, **options)
                for n in _row_counts(layers, 2 if options.get("packed") else share)
            )
            yield from islice((unit for unit in units if fits(unit, board)), TRIED)


def _fastest(design: str, layers: Sequence[Layer], board: Board, on_chip: bool | None = None) -> Report | None:
    """Return the report of the fastest unit of a design, None where there is none."""
    if not DESIGNS[design].get("coded"):  # depths of channels are codes, too
        layers = [replace(layer, depths=None) if layer.depths is not None else layer for layer in layers]
    tried = candidates(design, layers, board)
    reports = (network_time(unit, layers, board, design=design, on_chip=on_chip) for unit in tried)
    return min(reports, key=lambda report: (report.latency, report.resources["luts"]), default=None)


def search(design: str, layers: Sequence[Layer], board: Board, *, on_chip: bool | None = None) -> Report:
    """Return the report of the fastest design, of equals the one of fewest look-up tables.

    Args:
        design: A name of DESIGNS.
        layers: The network.
        board: The board.
        on_chip: See network_time.

    Raises:
        ValueError: The board holds no unit of the design, which is so where codebooks are very large, or the design
            takes codes and the network has none.
    """
    if report := _fastest(design, layers, board, on_chip):
        return report
    raise ValueError(f"{board.name} holds no design '{design}' for this network")


def searched(layers: Sequence[Layer], board: Board) -> dict[str, Report]:
    """Return the report of the fastest design of each kind that the board holds, by its name in DESIGNS."""
    reports = {design: _fastest(design, layers, board) for design in DESIGNS}
    return {design: report for design, report in reports.items() if report}


@dataclass(frozen=True)
class Latency:
    """What a compressed network takes on a board, in seconds, by the fastest unit of a design for its codes.

    board, design: of BOARDS and DESIGNS. positions: see `layers`.
    """

    board: str
    design: str
    positions: Mapping[str, tuple[int, int]]

    def __call__(self, compressed: Compressed) -> float:
        return search(self.design, layers(compressed, self.positions), board(self.board)).latency


def text(reports: Mapping[str, Report]) -> str:
    """Return a table of designs, the layers of the fastest, and in which of them a codebook saves multiplications."""
    lines = [
        f"{'design':32} {'latency':>11} {'images/s':>9} {'/MAC 16':>8} {'/MAC 8':>7} {'LUT':>8} {'FF':>8} {'DSP':>6} "
        f"{'BRAM18':>6}  slowest layer"
    ]
    for name, report in reports.items():
        faster = [reports[f"MAC, {width}"].latency / report.latency for width in ("16 bits", "8 bits packed")]
        counts = " {luts:8,} {ffs:8,} {dsps:6,} {bram18:6,}".format(**report.resources)
        times = f"{1e3 * report.latency:8.4f} ms {report.throughput:9,.0f} {faster[0]:8.2f} {faster[1]:7.2f}"
        lines.append(f"{name:32} {times}{counts}  {report.bottleneck}")
    best = min(reports.values(), key=lambda report: report.latency)
    place = "on chip" if best.on_chip else "from the board's memory"
    unit = f"{best.unit.rows} rows, {best.unit.inputs} inputs a row, {best.unit.multipliers} multipliers"
    unit = unit if best.unit.kind == "accumulate" else unit.rpartition(",")[0]
    lines += ["", f"{best.design} on {best.board}: {unit}; weights {place}"]
    lines.append(f"{'layer':40} {'computing':>12} {'traffic':>12} {'cycles':>12}  bound")
    for time in best.layers:
        lines.append(f"{time.name:40} {time.compute:12,} {time.memory:12,} {time.cycles:12,}  {time.bound}")
    none = [time.name for time in best.layers if not time.saves]
    total = len(best.layers)
    lines += ["", f"Accumulating takes fewer multiplications in {total - len(none)} of {total} layers."]
    if none:
        lines.append(
            "In the others, codebooks have as many numbers as rows have inputs, or are none: " + ", ".join(none)
        )
    return "\n".join(lines)


DECODERS = {"accumulate, 16 bits": "MAC with decoder, 16 bits", "accumulate, 8 bits": "MAC with decoder, 8 bits packed"}


def claim(size: int, codewords: Sequence[int], boards: Sequence[Board], *, vectors: int = 64) -> Iterator[dict]:
    """Yield the speed-up of accumulating units over dense ones for a matrix of codes, each the fastest on its board.

    Weights stay on chip and many vectors are multiplied, as in a convolution; or they stream from the board's memory
    for one vector, as in a linear layer.

    Args:
        size: Rows and columns of the matrix.
        codewords: The values of K.
        boards: The boards.
        vectors: Vectors where weights stay on chip.

    Returns:
        Rows with the latency in microseconds, the speed-ups over arrays of 16 bits and of packed 8 bits whose weights
        are no codes, and over the dense array of the same width that decodes the same codes.
    """
    counts = {"on chip": vectors, "streamed": 1}

    def latency(target: Board, weights: str, design: str, k: int) -> float:
        layer = Layer("matrix", size, size, 1, counts[weights], k, 1, np.ones((size, size), bool))
        return search(design, [layer], target, on_chip=weights == "on chip").latency

    for target, weights in product(boards, counts):
        dense = {width: latency(target, weights, f"MAC, {width}", 0) for width in ("16 bits", "8 bits packed")}
        for k, (design, decoder) in product(codewords, DECODERS.items()):
            own = latency(target, weights, design, k)
            ratios = {f"over MAC, {width}": time / own for width, time in dense.items()}
            ratios["over MAC with decoder"] = latency(target, weights, decoder, k) / own
            yield {
                "board": target.name,
                "weights": weights,
                "K": k,
                "design": design,
                "microseconds": 1e6 * own,
            } | ratios
