"""Time of a whole network on one unit, layer by layer: each layer knows its cycles, and the passes reduce them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np

from ._beats import GAP, row_beats, sparse_groups, words
from ._boards import Board
from ._cycles import Memory, cycles
from ._resources import resources
from ._unit import ADDED, Unit
from ._workload import Layer


@dataclass(frozen=True)
class LayerTime:
    """Cycles of a layer: what computing takes, what its traffic takes, and both together.

    bits: what comes from the board's memory. bound: "compute" or "memory". saves: see Layer.
    """

    name: str
    compute: int
    memory: int
    cycles: int
    bits: int
    bound: str
    saves: bool
    multiplications: int


@dataclass(frozen=True)
class Report:
    """Time and resources of a network on a board, images one after the other.

    on_chip: whether all codes stay in on-chip memory between images. latency: seconds. bottleneck: the layer of most
    cycles.
    """

    board: str
    design: str
    unit: Unit
    resources: dict[str, int]
    on_chip: bool
    layers: tuple[LayerTime, ...]
    latency: float
    bottleneck: str

    @property
    def throughput(self) -> float:
        """Images a second."""
        return 1 / self.latency

    def as_json(self) -> dict:
        """Return the report in plain JSON."""
        return asdict(self) | {"throughput": self.throughput}


def fitted(unit: Unit, layer: Layer) -> Unit:
    """Return the unit as it runs a layer: with the layer's codebook, all lanes at work, its counters loaded anew.

    Weights without codes would take the multipliers of an accumulating unit alone, one row each; that is assumed, not
    in the circuit.
    """
    if unit.kind == "dense":
        return replace(unit, codewords=min(unit.codewords, layer.codewords))
    if not layer.codewords:
        depth, wide, width = unit.depth * unit.inputs, unit.activation_width, unit.weight_width
        return Unit(kind="dense", rows=unit.multipliers, depth=depth, activation_width=wide, weight_width=width)
    lanes = min(max(1, unit.inputs * unit.dimension // layer.dimension), ADDED**2)
    return replace(unit, codewords=max(2, layer.codewords), dimension=layer.dimension, inputs=lanes)


@lru_cache(maxsize=256)
def _groups(unit: Unit, layer: Layer) -> list[tuple[int, ...]]:
    """Return the beats of each group of rows, for each group of the convolution."""
    if not unit.sparse:
        return [(words(unit, layer.columns),) * -(-layer.rows // unit.rows)] * layer.groups
    beats = np.split(_row_beats(layer, unit.inputs), layer.groups)
    return [tuple(sparse_groups(unit, part).tolist()) for part in beats]


@lru_cache(maxsize=256)
def _row_beats(layer: Layer, inputs: int) -> np.ndarray:
    """Return the beats of each row of a sparse unit, which do not depend on how many rows make a group."""
    return row_beats(layer.left, inputs)


_cycles = lru_cache(maxsize=4096)(cycles)


def _bits(unit: Unit, layer: Layer, beats: int) -> int:
    """Return the bits of a layer's stream, lanes that idle included."""
    if layer.depths is not None and not unit.codewords:
        return int(layer.depths.sum()) * layer.columns
    width = unit.code_width + (GAP if unit.sparse else 0)
    return beats * unit.rows * unit.inputs * width + unit.codewords * unit.dimension * unit.weight_width


def layer_time(unit: Unit, layer: Layer, board: Board, *, on_chip: bool, room: float) -> LayerTime:
    """Return the cycles of a layer.

    A matrix that is used once streams beat by beat, so that its cycles are those of the unit with a memory of the
    board's rate. One that is used at many positions comes in while the layer before computes, once.

    Args:
        unit: The unit.
        layer: The layer.
        board: The board.
        on_chip: Whether codes stay on chip.
        room: Bits of on-chip memory left for activations; outputs that do not fit go to the board's memory and back.
    """
    own = fitted(unit, layer)
    groups = _groups(own, layer)
    common = {"load": words(own, layer.columns), "vectors": layer.vectors, "drain": own.drain, "pipeline": own.pipeline}
    wide = 1 if layer.depths is None or not unit.packed else 1 + float((layer.depths > 8).mean())  # 16 bits: two passes
    compute = round(wide * sum(_cycles(beats, **common) for beats in groups))
    total = sum(map(sum, groups))
    bits = 0 if on_chip else _bits(own, layer, total)
    outputs = layer.groups * layer.rows * layer.vectors * unit.activation_width
    spilled = 2 * outputs if outputs > room else 0
    memory = int(np.ceil((bits + spilled) / board.bits_a_cycle))
    both = max(compute, memory)
    if bits and layer.vectors == 1 and not spilled:
        rate = Memory.of_rate(Fraction(total * board.bits_a_cycle / bits))
        both = max(both, sum(cycles(beats, **common, memory=rate) for beats in groups))
    bound = "memory" if memory > compute else "compute"
    return LayerTime(layer.name, compute, memory, both, bits + spilled, bound, layer.saves, layer.multiplications)


def network_time(
    unit: Unit, layers: Sequence[Layer], board: Board, *, design: str = "", on_chip: bool | None = None
) -> Report:
    """Return the time of a network on a unit of a board, and what the unit takes.

    Args:
        unit: The unit.
        layers: The network.
        board: The board.
        design: The name of the unit's design, for the report.
        on_chip: Whether codes stay on chip between images; by default where they take at most half of what the unit
            leaves, so that the other half holds activations.
    """
    taken = resources(unit, board)
    room = board.memory_bits - 18432 * taken["bram18"]
    stream = 0
    for layer in layers:
        own = fitted(unit, layer)
        stream += _bits(own, layer, sum(map(sum, _groups(own, layer))))
    if on_chip is None:
        on_chip = stream <= room / 2
    left = room - stream if on_chip else room
    times = tuple(layer_time(unit, layer, board, on_chip=on_chip, room=left) for layer in layers)
    latency = sum(time.cycles for time in times) / board.clock
    bottleneck = max(times, key=lambda time: time.cycles).name
    return Report(board.name, design, unit, taken, on_chip, times, latency, bottleneck)
