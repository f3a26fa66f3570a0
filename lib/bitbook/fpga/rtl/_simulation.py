"""A circuit, clock by clock, in Amaranth's simulator."""

import warnings
from dataclasses import dataclass

import numpy as np
from amaranth.sim import Simulator

from bitbook.fpga._beats import Beats, words
from bitbook.fpga._cycles import Memory

from ._front import Front


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a simulation saw.

    outputs: (V, rows) whole numbers. cycles: from the first word of activations to the last result. trace: bool
    (cycles,) by what happens: a word of activations or a beat is taken, accumulators are multiplied, a result leaves.
    """

    outputs: np.ndarray
    cycles: int
    trace: dict[str, np.ndarray]


def _packed(values: np.ndarray, width: int) -> list[int]:
    """Return each row of whole numbers as one, the first lowest."""
    mask = (1 << width) - 1
    return [sum((int(value) & mask) << i * width for i, value in enumerate(row)) for row in values]


def simulate(
    circuit: Front, beats: Beats, activations: np.ndarray, *, codebook: np.ndarray | None = None, memory: Memory
) -> Simulation:
    """Run vectors through a circuit, whose codebook is loaded beforehand.

    Args:
        circuit: Made by `circuit`; a circuit runs once.
        beats: The matrix, laid out for the circuit's unit; it is streamed anew for each vector.
        activations: (V, columns) whole numbers.
        codebook: (K, d) whole numbers.
        memory: When the stream of codes delivers.
    """
    unit = circuit.unit
    size, length = unit.inputs * unit.dimension, words(unit, activations.shape[1])
    padded = np.zeros((len(activations), length * size), np.int64)
    padded[:, : activations.shape[1]] = activations
    x = _packed(padded.reshape(-1, size), unit.activation_width)
    streams = [_packed(beats.codes, unit.code_width), _packed(beats.enable, 1)]
    streams.append(_packed(beats.columns, unit.column_width))
    total, count = len(beats.last) * len(activations), len(circuit.y_data) // unit.output_width
    results = len(beats.groups) * len(activations) * (unit.rows // count)
    found: list[int] = []
    trace: dict[str, list] = {name: [] for name in ("activations", "beat", "multiply", "result")}

    async def bench(ctx) -> None:
        for address, value in enumerate([] if codebook is None else codebook.T.ravel().tolist()):
            ctx.set(circuit.c_valid, 1)
            ctx.set(circuit.c_address, address)
            ctx.set(circuit.c_data, value)
            await ctx.tick()
        ctx.set(circuit.c_valid, 0)
        word = beat = cycle = 0
        while len(found) < results:
            ctx.set(circuit.x_valid, word < len(x))
            if word < len(x):
                ctx.set(circuit.x_data, x[word])
                ctx.set(circuit.x_last, word % length == length - 1)
            valid = beat < total and bool(memory.pattern[cycle % memory.period])
            ctx.set(circuit.w_valid, valid)
            if valid:
                place = beat % len(beats.last)
                for port, stream in zip((circuit.w_data, circuit.w_enable, circuit.w_column), streams, strict=True):
                    ctx.set(port, stream[place])
                ctx.set(circuit.w_last, bool(beats.last[place]))
                ctx.set(circuit.w_final, place == len(beats.last) - 1)
            taken = word < len(x) and bool(ctx.get(circuit.x_ready)), valid and bool(ctx.get(circuit.w_ready))
            done = bool(ctx.get(circuit.y_valid))
            if done:
                found.append(ctx.get(circuit.y_data))
            for name, event in zip(trace, (*taken, bool(ctx.get(circuit.multiplying)), done), strict=True):
                trace[name].append(event)
            word, beat, cycle = word + taken[0], beat + taken[1], cycle + 1
            if cycle > 1000 + 100 * memory.period * (total + results * (unit.drain + 1) + len(x)):
                raise RuntimeError("the circuit hangs")
            await ctx.tick()

    simulator = Simulator(circuit)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulator.run()
    mask, half = (1 << unit.output_width) - 1, 1 << unit.output_width - 1
    values = [[(((y >> i * unit.output_width) & mask) ^ half) - half for i in range(count)] for y in found]
    # results come by vector, group, and row of each multiplier
    outputs = np.array(values).reshape(len(activations), len(beats.groups), -1, count).swapaxes(2, 3)
    return Simulation(
        outputs.reshape(len(activations), -1), len(trace["beat"]), {n: np.array(t) for n, t in trace.items()}
    )
