"""The fastest design of a kind that a board holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bitbook.codes import Compressed

from ._boards import Board, board
from ._network import Report, network_time
from ._resources import resources
from ._unit import Unit
from ._workload import Layer, layers

ROWS = sorted({base << shift for base in (2, 3, 5, 7, 9, 11, 13) for shift in range(11)})
INPUTS = (1, 2, 4, 8, 16)
SHARES = (1, 2, 4, 8, 16, 32)  # rows of a multiplier
TRIED = 2  # of each kind of shape, the largest that fit
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


def candidates(design: str, layers: Sequence[Layer], board: Board) -> Iterator[Unit]:
    """Yield the units of a design that a board holds and that are worth a try for a network."""
    options = dict(DESIGNS[design])
    width, coded = options.pop("width"), options.pop("coded", False)
    most = max(layer.codewords for layer in layers)
    dimension = max(layer.dimension for layer in layers)
    if options["kind"] == "accumulate":
        options |= {"codewords": most and max(2, most), "dimension": dimension}
    elif coded:
        options["codewords"] = most
    if not most and "codewords" in options:
        return
    options |= {"activation_width": width, "weight_width": width}
    largest = max(layer.columns for layer in layers)
    for inputs in INPUTS:
        depth = -(-largest // inputs)  # of the smallest dimension
        for share in SHARES if options["kind"] == "accumulate" else (1,):
            fitting = []
            for rows in ROWS:
                if rows % share or (options.get("packed") and rows % 2):
                    continue
                more = {"multipliers": rows // share} if options["kind"] == "accumulate" else {}
                unit = Unit(rows=rows, inputs=inputs, depth=depth, **more, **options)
                if not fits(unit, board):
                    break
                fitting.append(unit)
            yield from fitting[-TRIED:]


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
    tried = candidates(design, layers, board)
    reports = [network_time(unit, layers, board, design=design, on_chip=on_chip) for unit in tried]
    if not reports:
        raise ValueError(f"{board.name} holds no design '{design}' for this network")
    return min(reports, key=lambda report: (report.latency, report.resources["luts"]))


def searched(layers: Sequence[Layer], board: Board) -> dict[str, Report]:
    """Return the report of the fastest design of each kind that the board holds, by its name in DESIGNS."""
    reports = {}
    for design in DESIGNS:
        try:
            reports[design] = search(design, layers, board)
        except ValueError:
            continue
    return reports


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
    """Return a table of designs, then the layers of the fastest."""
    lines = [f"{'design':32} {'latency':>10} {'images/s':>10} {'LUT':>8} {'DSP':>6} {'BRAM18':>6}  slowest layer"]
    for name, report in reports.items():
        taken = [report.resources[resource] for resource in ("luts", "dsps", "bram18")]
        counts = f"{taken[0]:8,} {taken[1]:6,} {taken[2]:6,}"
        times = f"{1e3 * report.latency:7.3f} ms {report.throughput:10,.1f}"
        lines.append(f"{name:32} {times} {counts}  {report.bottleneck}")
    best = min(reports.values(), key=lambda report: report.latency)
    place = "on chip" if best.on_chip else "from the board's memory"
    lines += ["", f"{best.design} on {best.board}, codes {place}"]
    lines.append(f"{'layer':40} {'computing':>12} {'traffic':>12} {'cycles':>12}  bound")
    for time in best.layers:
        note = "" if time.saves or best.unit.kind == "dense" else "  (no fewer multiplications)"
        lines.append(f"{time.name:40} {time.compute:12,} {time.memory:12,} {time.cycles:12,}  {time.bound}{note}")
    return "\n".join(lines)
