"""Look-up tables, DSPs and block memories of a unit: a model fitted to what Yosys counts."""

import csv
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ._boards import Board
from ._unit import Unit

SYNTHESIS = Path(__file__).parent / "synthesis.csv"
SERIES_7 = (25, 18)  # operands of its DSPs


def synthesised() -> list[tuple[str, Unit, dict[str, str]]]:
    """Return the rows of the table that bench/fpga_synthesis.py has made: use, unit, and all that the row says."""
    kinds: dict[str, Callable[[str], Any]] = {"str": str, "bool": lambda word: word == "True", "int": int}
    found = []
    with SYNTHESIS.open() as file:
        for row in csv.DictReader(file):
            made = {f.name: kinds.get(str(f.type), str)(row[f.name]) for f in fields(Unit)}
            found.append((row["use"], Unit(**made), row))
    return found


def _ram(codewords: int, width: int) -> int:
    """Look-up tables of a memory with one port: 32 entries of 8 bits in four of them, or 64 of one bit in each."""
    return 4 * -(-width // 8) if codewords <= 32 else width * -(-codewords // 64)


def _merged(unit: Unit) -> int:
    """Bits of the sum of a row's accumulators of one codeword."""
    return unit.bin_width + (unit.inputs - 1).bit_length()


def _features(unit: Unit) -> list[float]:
    """What look-up tables are made for: what is known in form, each with a coefficient to be fitted."""
    codes, width = unit.rows * unit.inputs, unit.weight_width + unit.activation_width
    if unit.kind == "accumulate":
        files = 2 * unit.lanes * (_ram(unit.codewords, unit.bin_width) + unit.bin_width)  # memories and adders
        selection = unit.lanes * unit.bin_width + unit.rows * unit.dimension * (unit.inputs - 1) * _merged(unit)
        zeros = 2 * unit.activation_width * unit.dimension * unit.inputs * (unit.rows if unit.sparse else 1)
        wide = _tiles(_merged(unit), unit.weight_width, SERIES_7) > 1  # its products are added up outside of the DSPs
        return [files, selection, zeros, wide * unit.multipliers * unit.output_width, 1]
    # a memory of four look-up tables has three ports that read: 32 entries of two bits, or 64 of one
    ports = codes * unit.weight_width * (2 / 3 if unit.codewords <= 32 else 4 / 3 * -(-unit.codewords // 64))
    adders = unit.rows * unit.output_width * (unit.inputs > 1 or unit.packed)  # else a DSP adds up what it multiplies
    added = unit.packed * unit.rows * (unit.inputs - 1) * width  # products of packed DSPs are added up outside of them
    return [ports if unit.codewords else 0, adders, added, 1]


@cache
def coefficients(kind: str) -> np.ndarray:
    """Return the coefficients of a kind's features, fitted by relative error to the rows that are for fitting."""
    from scipy.optimize import nnls

    rows = [(unit, int(row["luts"])) for use, unit, row in synthesised() if use == "fit" and unit.kind == kind]
    matrix = np.array([_features(unit) for unit, _ in rows]) / np.array([[luts] for _, luts in rows])
    return nnls(matrix, np.ones(len(rows)))[0]


def _tiles(first: int, second: int, multiplier: tuple[int, int]) -> int:
    """DSPs of a signed product."""

    def parts(width: int, port: int) -> int:
        return 1 if width <= port else -(-(width - 1) // (port - 1))

    a, b = multiplier
    return min(parts(first, a) * parts(second, b), parts(first, b) * parts(second, a))


def _bram18(width: int, depth: int) -> int:
    return min(-(-width // wide) * -(-depth // deep) for wide, deep in ((18, 1024), (36, 512)))


def _buffer(unit: Unit) -> int:
    """Block memories of the stream's buffer, which is outside of the circuit."""
    return -(-unit.rows * unit.inputs * unit.code_width // 36)


def _registers(unit: Unit) -> int:
    """Bits of the circuit's registers; synthesis moves some into DSPs and drops those that a kind does not use."""
    stream = unit.rows * unit.inputs * (unit.code_width + 1) + 2 * unit.column_width  # codes, enable; two addresses
    if unit.kind == "dense":
        product = unit.weight_width + unit.activation_width
        products = unit.rows * unit.inputs * ((16 + product) / 2 if unit.packed else product)
        return int(stream + products + unit.rows * unit.output_width + 10)
    share = unit.rows // unit.multipliers
    counters = [unit.codewords, max(2, unit.dimension), max(2, share), unit.codewords * unit.dimension + 1]
    results = unit.multipliers * (_merged(unit) + unit.output_width)
    return stream + results + sum((count - 1).bit_length() for count in counters) + 15


def resources(unit: Unit, board: Board) -> dict[str, int]:
    """Return what a unit takes of a board: "luts" by the fitted model, "ffs", "dsps" and "bram18" by their widths.

    Block memories are those of the activations, of a large codebook, and of a buffer for the stream, as wide as a beat.
    """
    word, depth = unit.dimension * unit.activation_width, 2 << unit.column_width
    memories = _bram18(unit.inputs * word, depth)
    if unit.sparse:  # every lane reads a word of its own
        memories = unit.rows * unit.inputs * _bram18(word, depth)
    memories += _buffer(unit)
    if unit.kind == "accumulate":
        numbers = unit.codewords * unit.dimension
        memories += _bram18(unit.weight_width, numbers) if numbers > 64 else 0  # smaller books take look-up tables
        dsps = unit.multipliers * _tiles(_merged(unit), unit.weight_width, board.multiplier)
    else:
        dsps = unit.rows * unit.inputs
        dsps = dsps // 2 if unit.packed else dsps * _tiles(unit.weight_width, unit.activation_width, board.multiplier)
    luts = float(np.dot(_features(unit), coefficients(unit.kind)))
    return {"luts": round(luts), "ffs": _registers(unit), "dsps": dsps, "bram18": memories}
