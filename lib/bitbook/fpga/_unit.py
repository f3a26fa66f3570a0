"""The parameters of a matrix-vector unit, shared by its hardware and by the model of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ADDED = 16  # terms that a cycle adds up; the sums of more than these are added up in the next


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A matrix-vector unit that takes one beat of weights or codes a cycle.

    kind: "dense" multiplies every weight; "accumulate" adds activations up by codeword and multiplies each sum once.
    rows: P, outputs that are computed side by side; they form a group. inputs: S, codes (or weights) of each row in a
    beat. codewords: K; for a dense unit the entries of the codebook that decodes its stream, 0 where weights come as
    they are. dimension: d, weights that a code stands for. multipliers: M, of an accumulating unit; it divides P.
    depth: words of S * d activations that the longest vector may have. packed: two products of 8 bits a DSP. sparse:
    codes come with the column of their word, so that zeros take no beat.
    """

    kind: Literal["dense", "accumulate"]
    rows: int
    inputs: int = 1
    codewords: int = 0
    dimension: int = 1
    multipliers: int = 1
    activation_width: int = 16
    weight_width: int = 16
    depth: int = 512
    packed: bool = False
    sparse: bool = False

    def __post_init__(self) -> None:
        if min(self.rows, self.inputs, self.dimension, self.multipliers, self.depth) < 1:
            raise ValueError("rows, inputs, dimension, multipliers and depth of a unit are 1 or more")
        if self.inputs > ADDED**2:
            raise ValueError(f"a unit has {ADDED**2} inputs at most")
        if self.kind == "accumulate" and (self.codewords < 2 or self.rows % self.multipliers):
            raise ValueError("an accumulating unit has 2 codewords or more, and its multipliers divide its rows")
        if self.kind == "dense" and (self.dimension > 1 or self.sparse):
            raise ValueError("a dense unit takes neither vector codes nor sparse ones")
        if self.packed and (self.kind != "dense" or self.rows % 2 or max(self.activation_width, self.weight_width) > 8):
            raise ValueError("packing takes a dense unit, an even number of rows and widths of at most 8 bits")

    @property
    def lanes(self) -> int:
        """Weights that a beat stands for."""
        return self.rows * self.inputs * self.dimension

    @property
    def code_width(self) -> int:
        """Bits of a code in the stream, or of a weight where they come as they are."""
        return (self.codewords - 1).bit_length() if self.codewords else self.weight_width

    @property
    def column_width(self) -> int:
        """Bits of the address of a word of activations."""
        return max(1, (self.depth - 1).bit_length())

    @property
    def bin_width(self) -> int:
        """Bits of an accumulator of activations: that many words cannot overflow it."""
        return self.activation_width + (self.depth - 1).bit_length()

    @property
    def output_width(self) -> int:
        """Bits of a result: that many products cannot overflow it."""
        return self.activation_width + self.weight_width + (self.depth * self.inputs * self.dimension - 1).bit_length()

    @property
    def pipeline(self) -> int:
        """Cycles from a group's last drained accumulator, or last product, to its result."""
        return 2 + (self.inputs > ADDED)

    @property
    def drain(self) -> int:
        """Cycles in which the multipliers turn a group's accumulators into results; 0 for a dense unit."""
        if self.kind == "dense":
            return 0
        return self.rows // self.multipliers * self.codewords * self.dimension
